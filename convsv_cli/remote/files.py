"""The one way to the bytes of a model's files, wherever they are.

Of a remote file, only an empty one of its name is on this machine until all of it is there: `opened` and
`view` fetch what is asked for, and `whole` the rest. So a reader that opens the path itself finds nothing,
rather than zeros for what was not fetched.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError
from convsv_cli.remote.server import Described, Server, changed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 2**16
"""Bytes of which readers fetch whole multiples: they go on where they were."""
PIECE = 2**23
"""Bytes of one request."""
SHARE = 2
"""Of what is free where files are kept, a model may take one part in so many."""
_remote: dict[Path, RemoteFile] = {}
_beside: dict[Path, Callable[[str], bool]] = {}
"""What looks for a further file of a name, by the folder that stands for the remote one."""


class RemoteFile:
    """A file on a server, of which ranges of bytes are kept here.

    Args:
        server, name: where it is.
        known: its size and version.
        path: where all of it will be; an empty file until then.
        kept: where ranges are until then, in a file as long as the whole.
    """

    def __init__(self, server: Server, name: str, known: Described, path: Path, kept: Path) -> None:
        self._server, self._name, self.known, self._path, self._kept = server, name, known, path, kept
        self._ranges: list[tuple[int, int]] = []
        self._failure: ConvsvError | None = None
        self._lock = threading.RLock()

    @property
    def fetched(self) -> int:
        """How many bytes are here."""
        return sum(end - start for start, end in self._ranges)

    @property
    def complete(self) -> bool:
        """Whether all of it is here."""
        return self.fetched == self.known.size

    def holding(self, start: int, end: int) -> Path:
        """The file that has these bytes, as far as it is so long, at their place, and nothing else for sure.

        Raises:
            UnreadableModelError: they cannot be fetched.
            UnsafeModelError: they take too much room.
        """
        with self._lock:
            for begin, stop in self._gaps(start, min(end, self.known.size)):
                self._check_room(stop - begin)
                for first in range(begin, stop, PIECE):
                    self._fetch(first, min(first + PIECE, stop))
            return self._path if self._path.stat().st_size else self._made()

    def whole(self) -> Path:
        """The file at its path, with all of its bytes."""
        with self._lock:
            kept = self.holding(0, self.known.size)
            if kept != self._path and self.known.size:
                kept.replace(self._path)
            return self._path

    def outline(self, length: int) -> Path:
        """Another file that is as long, with so much of its beginning, and holes for the rest."""
        at = self._kept.with_suffix(".outline")
        data = self.holding(0, length)
        with data.open("rb") as source, at.open("wb") as file:
            file.write(source.read(length))
            file.truncate(self.known.size)
        return at

    def check(self) -> None:
        """See that all that was asked for came, whatever a reader made of it, and that it is what it was.

        Raises:
            UnreadableModelError: it is not; or as what was asked for did.
        """
        if self._failure is not None:
            raise self._failure
        if self._ranges and not self._server.watches and self._server.describe(self._name) != self.known:
            raise changed()

    def _gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """What is not here between two places."""
        gaps, position = [], start
        for first, last in self._ranges:
            if last <= position or first >= end:
                continue
            if first > position:
                gaps.append((position, first))
            position = max(position, last)
        if position < end:
            gaps.append((position, end))
        return gaps

    def _fetch(self, start: int, end: int) -> None:
        try:
            data = self._server.read(self._name, start, end, self.known)
        except ConvsvError as error:
            self._failure = error
            raise
        with self._made().open("r+b") as file:
            file.seek(start)
            file.write(data)
        self._add(start, end)

    def _add(self, start: int, end: int) -> None:
        """Note that a range is here, together with those that it touches."""
        apart = [each for each in self._ranges if each[1] < start or each[0] > end]
        joined = [each for each in self._ranges if each not in apart]
        merged = (min([start, *(first for first, _ in joined)]), max([end, *(last for _, last in joined)]))
        self._ranges = sorted([*apart, merged])

    def _made(self) -> Path:
        """The file for ranges, made where there is none."""
        if not self._kept.exists():
            if self._ranges:  # a file made anew would have zeros in their place
                raise UnreadableModelError("what was fetched of it is here no longer", hint="run it again")
            try:
                with self._kept.open("wb") as file:
                    file.truncate(self.known.size)
            except (OSError, OverflowError) as error:
                what = f"its server says that it has {self.known.size:,} bytes: no file here can"
                raise UnsafeModelError(what) from error
        return self._kept

    def _check_room(self, size: int) -> None:
        import shutil

        free = shutil.disk_usage(self._path.parent).free // SHARE
        if size > free:
            raise UnsafeModelError(
                f"{size / 2**30:.3g} GiB are to be fetched, more than {free / 2**30:.3g} GiB, 1/{SHARE} of"
                " what is free where files are kept",
                hint="TMPDIR says where that is",
            )


class _Reader(io.RawIOBase):
    """A remote file, from which those blocks are fetched that are read."""

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file, self._position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.known.size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._position + len(buffer), self._file.known.size)
        if end <= self._position:
            return 0
        first, last = self._position // BLOCK * BLOCK, -(-end // BLOCK) * BLOCK
        with self._file.holding(first, last).open("rb") as kept:
            kept.seek(self._position)
            count = kept.readinto(memoryview(buffer)[: end - self._position])
        self._position += count
        return count


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
    return path.open("rb") if remote is None else io.BufferedReader(_Reader(remote), BLOCK)


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
