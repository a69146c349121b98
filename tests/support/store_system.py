"""A file system of fsspec's over a folder, under the name of an object store; it counts, and may lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.spec import AbstractBufferedFile


class StoreSystem(fsspec.AbstractFileSystem):
    """What `fsspec.filesystem("s3")` gives in tests: one for all of them.

    Attributes:
        folder: that stands for all buckets.
        async_impl: as most stores are; without it, files read ahead unless they are told not to.
        asked: ranges that were read.
        lie: is given each range's bytes, and what is sent instead.
    """

    protocol = "s3"
    cachable = False
    folder = Path()

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.async_impl = True
        self.folder, self.asked, self.lie = folder, list[tuple[str, int, int]](), lambda data: data

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """As fsspec has it."""
        place = self.folder / self._strip_protocol(path)
        if place.is_dir():
            return {"name": path, "type": "directory", "size": 0}
        status = place.stat()
        return {"name": path, "type": "file", "size": status.st_size, "ETag": str(status.st_mtime_ns)}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """As fsspec has it."""
        names = sorted(each.name for each in (self.folder / path).iterdir())
        return [self.info(f"{path}/{name}") if detail else f"{path}/{name}" for name in names]

    def cat_file(self, path: str, start: int = 0, end: int = 0, **_: Any) -> bytes:
        """As fsspec has it."""
        self.asked.append((path, start, end))
        with (self.folder / path).open("rb") as file:
            file.seek(start)
            return self.lie(file.read(end - start))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        options.pop("autocommit", None)
        return _File(self, path, mode, **options)

    @property
    def sent(self) -> int:
        """Bytes."""
        return sum(end - start for _, start, end in self.asked)


class _File(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start, end)


@contextmanager
def storing(folder: Path) -> Iterator[StoreSystem]:
    """The folder as s3://, while the block lasts."""
    system = StoreSystem(folder)
    original: Callable[..., Any] = fsspec.filesystem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsspec, "filesystem", lambda name: system if name == "s3" else original(name))
        yield system
