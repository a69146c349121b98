"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from convsv_cli.errors import UsageError
from convsv_cli.loaders.folder import may_be_model

ELSEWHERE = "choose another file"


def is_file(path: Path) -> bool:
    """Whether a document to that path goes to a file: - is stdout."""
    return str(path) != "-"


def check_replaceable(path: Path, models: Sequence[Path]) -> None:
    """Complain before any work is done, so that no long computation ends in a typing error.

    Raises:
        UsageError: a file that cannot be written, or is one of the inputs itself.
    """
    try:
        _check(path)
        for model in models:
            _check_beside(path, model)
    except OSError as error:
        raise UsageError(f"no path: {error.strerror}", where=str(error.filename)) from error


@contextmanager
def replacement(path: Path) -> Iterator[BinaryIO]:
    """A file to write, beside `path`, that takes its place at the end: readers see the old or the new one.

    Where the block ends in an exception, Ctrl-C included, what was there stays and nothing else is left.

    Raises:
        UsageError: the file cannot be written.
    """
    with blaming(path):
        home = Path(os.path.realpath(path))  # which takes a circle of links for a file
        handle, name = tempfile.mkstemp(prefix=f".{home.name}.", dir=home.parent)
    beside = Path(name)
    try:
        file = os.fdopen(handle, "wb")
        try:
            yield file
        finally:
            with blaming(path):
                file.close()
        with blaming(path):
            beside.chmod(home.stat().st_mode & 0o777 if home.exists() else 0o666 & ~_umask())
            beside.replace(home)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


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


def _check(path: Path) -> None:
    if not path.parent.is_dir():
        raise UsageError("no such folder", where=str(path.parent), hint="create it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError("the folder is not writable", where=str(path.parent))
    if path.exists() and not path.is_file():
        raise UsageError("a pipe or device cannot be replaced", where=str(path), hint="redirect stdout to it")


def _check_beside(path: Path, model: Path) -> None:
    if path.exists() and model.exists() and path.samefile(model):
        raise UsageError("the output would replace an input", where=str(path), hint=ELSEWHERE)
    if path.exists() and model.is_dir() and path.parent.samefile(model) and may_be_model(path.name):
        raise UsageError("the output would replace a model", where=str(path), hint=ELSEWHERE)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
