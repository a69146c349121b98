"""The one way to the bytes of a model's files, wherever they are.

Of a remote file, only an empty one of its name is on this machine until all of it is there: `opened` and
`view` fetch what is asked for, and `whole` the rest. So a reader that opens the path itself finds nothing,
rather than zeros for what was not fetched.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from convsv_cli.errors import UnreadableModelError
from convsv_cli.remote.ranges import BLOCK, Reader, RemoteFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_remote: dict[Path, RemoteFile] = {}
_beside: dict[Path, Callable[[str], bool]] = {}
"""What looks for a further file of a name, by the folder that stands for the remote one."""


def register(path: Path, file: RemoteFile) -> None:
    """Have the bytes of what is at a path be those of a remote file.

    Args:
        path: resolved.
        file: what it stands for.
    """
    _remote[path] = file


def register_folder(folder: Path, look: Callable[[str], bool]) -> None:
    """Have further files in a folder be looked for.

    Args:
        folder: resolved.
        look: registers the file of a name, relative to the folder; says whether there is one.
    """
    _beside[folder] = look


def forget(folder: Path) -> None:
    """End what was registered in a folder."""
    _beside.pop(folder, None)
    for path in [path for path in _remote if path.is_relative_to(folder)]:
        del _remote[path]


def look_beside(path: Path, name: str) -> None:
    """Have a further file of a model be there, if it is remote and there is one.

    Args:
        path: of the model.
        name: relative to its folder; it does not lead out of it.

    Raises:
        UnreadableModelError: the server does not say.
    """
    look = _beside.get(path.parent)
    if look is not None:
        look(name)


def size(path: Path) -> int:
    """Bytes of a file.

    Raises:
        OSError: there is none.
    """
    remote = _remote.get(path)
    return path.stat().st_size if remote is None else remote.known.size


def is_partial(path: Path) -> bool:
    """Whether it is a remote file of which parts are not here."""
    remote = _remote.get(path)
    return remote is not None and not remote.complete


def opened(path: Path) -> IO[bytes]:
    """A file, to read it; of a remote one, what is read is fetched.

    Raises:
        OSError: as opening any file.
        UnreadableModelError, UnsafeModelError: reading it, where its server fails or it takes too much room.
    """
    remote = _remote.get(path)
    return path.open("rb") if remote is None else io.BufferedReader(Reader(remote), BLOCK)


def view(path: Path, start: int, length: int, mode: Literal["r", "c"] = "r") -> NDArray[np.uint8]:
    """Bytes of a file [length], mapped into memory.

    Args:
        path: of the file.
        start: position of the first.
        length: 1 or more; all of them are in the file.
        mode: "r" to read them, "c" to also change them, in memory alone.

    Raises:
        OSError, ValueError: the file does not have them.
        UnreadableModelError, UnsafeModelError: as `opened`.
    """
    import numpy as np

    remote = _remote.get(path)
    if remote is not None:
        if not 0 <= start <= start + length <= remote.known.size:
            raise UnreadableModelError("the file is shorter than it says", where=str(path))
        path = remote.holding(start, start + length)
    return np.memmap(path, np.uint8, mode, start, (length,))


def whole(path: Path) -> Path:
    """The same path, where all of the file is now: for readers that open files themselves.

    Raises:
        UnreadableModelError, UnsafeModelError: as `opened`.
    """
    remote = _remote.get(path)
    return path if remote is None else remote.whole()


def outline(path: Path, length: int) -> Path:
    """A file that begins as this one and is as long: for readers that look at nothing but its header.

    Args:
        path: of the file, which itself is given where it is on this machine.
        length: of what it has in common; there are zeros in place of all else.
    """
    remote = _remote.get(path)
    return path if remote is None else remote.outline(length)
