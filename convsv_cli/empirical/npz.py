"""Arrays of numbers in .npz files: what an archive claims is checked before anything of it is inflated."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from convsv_cli import limits
from convsv_cli.errors import UsageError, expecting

NOT_NPZ = "not a .npz file with arrays of numbers"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""As NumPy writes them; others make more of a byte."""
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
WORKING = 8
"""Bytes that computing with an array takes for each of its entries, however few it is stored in."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """An array of an archive, as it claims to be: its size is that of its shape and type.

    Attributes:
        entry: where it is in the archive.
        shape, dtype: of the array.
    """

    entry: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def working(self) -> int:
        """Bytes that it takes, and computing with it."""
        count = math.prod(self.shape)
        return count * (self.dtype.itemsize + WORKING)


def shapes_of(path: Path, hint: str) -> dict[str, tuple[int, ...]]:
    """The shapes of all arrays, by name.

    Args:
        path: of the file.
        hint: what the error says has to be in it.

    Raises:
        UsageError: it is no .npz file, or one with other things than arrays of plain types.
        LimitError: they would take more memory than the files in use may.
    """
    with _opened(path, hint) as archive:
        return {name: member.shape for name, member in _members(archive, path, None).items()}


def arrays_of(path: Path, hint: str, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """The arrays of these names that there are; others are not looked at. Nothing in the file is executed.

    Args:
        path, hint: as in `shapes_of`.
        names: of the arrays.

    Raises:
        UsageError, LimitError: as `shapes_of`; the file is damaged.
    """
    with _opened(path, hint) as archive:
        return {name: _read(archive, member) for name, member in _members(archive, path, names).items()}


@contextmanager
def _opened(path: Path, hint: str) -> Iterator[zipfile.ZipFile]:
    """What is wrong in an archive, or the head of an array, has many types, and messages of programmers."""
    with expecting(UsageError, NOT_NPZ, where=str(path), hint=hint):
        try:
            with zipfile.ZipFile(path) as archive:
                yield archive
        except MemoryError as error:
            raise UsageError("its arrays do not fit into memory", where=str(path), hint="split it") from error


def _members(archive: zipfile.ZipFile, path: Path, names: Collection[str] | None) -> dict[str, Member]:
    """The arrays of these names, or all."""
    found: dict[str, Member] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if names is not None and name not in names:
            continue
        if name in found or entry.compress_type not in METHODS:
            raise ValueError(name)
        found[name] = _member(archive, entry)
    limits.credit(path)
    limits.hold(sum(member.working for member in found.values()), f"the arrays of {path}")
    return found


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Member:
    with archive.open(entry) as stream:
        shape, _, dtype = HEADERS[npy.read_magic(stream)](stream)
        size = entry.file_size - stream.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(entry.filename)
    return Member(entry=entry, shape=shape, dtype=dtype)


def _read(archive: zipfile.ZipFile, member: Member) -> NDArray[Any]:
    with archive.open(member.entry) as stream:
        array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        return array
