"""Ranges of remote files, each fetched once and kept on this machine."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError
from convsv_cli.remote.server import Described, Server, changed

BLOCK = 2**14
"""Bytes of which readers fetch whole multiples: they go on where they were."""
PIECE = 2**23
"""Bytes of one request."""
SHARE = 2
"""Of what is free where files are kept, a model may take one part in so many."""


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


class Reader(io.RawIOBase):
    """A remote file, from which those blocks are fetched that are read."""

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file, self._position = file, 0

    def readable(self) -> bool:
        """As `io.RawIOBase` has it."""
        return True

    def seekable(self) -> bool:
        """As `io.RawIOBase` has it."""
        return True

    def tell(self) -> int:
        """As `io.RawIOBase` has it."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As `io.RawIOBase` has it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.known.size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As `io.RawIOBase` has it."""
        end = min(self._position + len(buffer), self._file.known.size)
        if end <= self._position:
            return 0
        first, last = self._position // BLOCK * BLOCK, -(-end // BLOCK) * BLOCK
        with self._file.holding(first, last).open("rb") as kept:
            kept.seek(self._position)
            count = kept.readinto(memoryview(buffer)[: end - self._position])
        self._position += count
        return count
