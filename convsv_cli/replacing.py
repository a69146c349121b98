"""Files that are replaced whole or not at all, and errors that say what could not be written."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from convsv_cli.errors import UsageError


@contextmanager
def replacement(path: Path, *, links: bool = True) -> Iterator[BinaryIO]:
    """A file to write, next to `path`, that takes its place at the end: readers see the old or the new one.

    Where the block ends in an exception, Ctrl-C included, what was there stays and nothing else is left.

    Args:
        path: of the file.
        links: whether it is what a link leads to that is replaced, as users expect of names that they give.

    Raises:
        UsageError: the file cannot be written; whoever writes to it need not look for other errors.
    """
    with blaming(path):
        home = Path(os.path.realpath(path)) if links else path  # which takes a circle of links for a file
        handle, name = tempfile.mkstemp(prefix=f".{home.name}.", dir=home.parent)
    temporary = Path(name)
    try:
        with io.BufferedWriter(_Blaming(handle, path)) as file:
            yield file
        with blaming(path):
            temporary.chmod(home.stat().st_mode & 0o777 if home.exists() else 0o666 & ~_umask())
            temporary.replace(home)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class _Blaming(io.FileIO):
    """A file whose errors name the path that it is to replace."""

    def __init__(self, handle: int, path: Path) -> None:
        super().__init__(handle, "wb")
        self._path = path

    def write(self, data: Any, /) -> int:  # noqa: ANN401  (whatever its base class takes)
        with blaming(self._path):
            return super().write(data)

    def close(self) -> None:
        with blaming(self._path):
            super().close()


@contextmanager
def blaming(where: Path | str) -> Iterator[None]:
    """Errors of the operating system as one line that says what could not be written.

    Raises:
        UsageError: for any but that the reader of a pipe has gone.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write: {error.strerror or error}", where=str(where)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
