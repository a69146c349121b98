"""Weights written into a copy of a model: their bytes alone are replaced, and nothing else is looked at."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from onnx import numpy_helper

from convsv_cli.loaders.onnx.reading import parse
from convsv_cli.loaders.onnx.tensors import TYPED_FIELDS
from convsv_cli.model.home import Home, Place

ENTRY, LOCAL, DESCRIPTOR = b"PK\x01\x02", b"PK\x03\x04", b"PK\x07\x08"
ENTRY_SUM, LOCAL_SUM = 16, 14
"""Where they have the checksum."""
ENTRY_SIZE, LOCAL_SIZE = 46, 30
STREAMED = 1 << 3
"""The flag of a record whose checksum also stands behind it."""
PIECE = 2**24


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """Values for a place.

    Attributes:
        place: where they are to be.
        values: in the type of the place; all that it has, or those at `positions` [n].
        positions: as in `Home`.
    """

    place: Place
    values: torch.Tensor
    positions: torch.Tensor | None = None

    @property
    def bits(self) -> NDArray[Any]:
        """The values as unsigned integers of as many bits, flat."""
        flat = self.values.contiguous().flatten()
        size = flat.element_size()
        found: NDArray[Any] = flat.view(torch.uint8).numpy().view(f"u{size}")
        return found.byteswap() if self.place.swapped and size > 1 else found

    def put(self, into: NDArray[Any]) -> None:
        """Write them into what the place holds, unsigned integers of its shape."""
        if self.positions is None:
            into[...] = self.bits.reshape(into.shape)
        else:
            into[np.unravel_index(self.positions.numpy(), into.shape)] = self.bits


def edits(home: Home, weight: torch.Tensor) -> list[Edit]:
    """What stores a weight, float64, in its home."""
    parts = zip(home.places, home.stored(weight), strict=True)
    return [Edit(place=place, values=values, positions=home.positions) for place, values in parts]


def read(home: Home) -> torch.Tensor | None:
    """What is read of a home now, float64; None where its values have no bytes of their own."""
    parts = []
    for place in home.places:
        if place.file is None:
            return None
        kind: torch.dtype = getattr(torch, place.dtype)
        bits = np.array(_view(place, place.file, kind.itemsize, mode="r"))
        turned = bits.byteswap() if place.swapped and kind.itemsize > 1 else bits
        found = torch.from_numpy(turned.flatten().view("u1")).view(kind).reshape(place.shape)
        parts.append(found if home.positions is None else found.flatten()[home.positions])
    return home.join(*(part.double() for part in parts))


def write(model: Path, wanted: Iterable[Edit]) -> None:
    """Write values into a model.

    Args:
        model: its file, which is changed, as are those beside it that places name.
        wanted: the values; of those for one place, the last count.
    """
    named: dict[str, list[Edit]] = {}
    touched: dict[Path, list[int]] = {}
    for edit in wanted:
        if edit.place.file is None:
            named.setdefault(edit.place.name, []).append(edit)
        elif edit.values.numel():
            _into_file(edit, edit.place.file)
            touched.setdefault(edit.place.file, []).append(edit.place.start)
    for file, positions in touched.items():
        if zipfile.is_zipfile(file):
            renew_sums(file, positions)
    if named:
        _into_graph(model, named)


def _into_file(edit: Edit, file: Path) -> None:
    edit.put(_view(edit.place, file, edit.values.element_size(), mode="r+"))


def _view(place: Place, file: Path, size: int, *, mode: Literal["r", "r+"]) -> NDArray[Any]:
    """The values of a place, mapped, as unsigned integers of so many bytes; not one of them is read."""
    extent = 1 + sum((n - 1) * step for n, step in zip(place.shape, place.stride, strict=True))
    flat = np.memmap(file, dtype=f"u{size}", mode=mode, offset=place.start, shape=(extent,))
    return as_strided(flat, place.shape, [size * step for step in place.stride])


def _into_graph(model: Path, named: dict[str, list[Edit]]) -> None:
    """Initializers of the main graph, with values of their own."""
    found = parse(model)
    for tensor in found.graph.initializer:
        if tensor.name not in named:
            continue
        size = named[tensor.name][0].values.element_size()
        content = np.frombuffer(bytearray(numpy_helper.to_array(tensor).tobytes()), f"u{size}")
        into = content.reshape(tuple(tensor.dims))
        for edit in named[tensor.name]:
            edit.put(into)
        for field in TYPED_FIELDS:
            tensor.ClearField(field)
        tensor.raw_data = content.tobytes()
    model.write_bytes(found.SerializeToString())


def renew_sums(path: Path, changed: Iterable[int]) -> None:
    """Renew the checksums of the records in which bytes were changed: nothing else of the archive is.

    Args:
        path: of an archive that `loaders.zip_records` accepted.
        changed: positions of some of those bytes, at least one for each record.
    """
    with zipfile.ZipFile(path) as archive:
        entries, start = archive.infolist(), archive.start_dir
    with path.open("r+b") as file:
        wanted = set(changed)
        for place, entry in zip(_entry_places(file, start, len(entries)), entries, strict=True):
            begin = _begin(file, entry.header_offset)
            if any(begin <= position < begin + entry.compress_size for position in wanted):
                renewed = struct.pack("<L", _sum(file, begin, entry.compress_size))
                _put(file, place + ENTRY_SUM, renewed)
                _put_near(file, entry, begin, renewed)


def _entry_places(file: BinaryIO, start: int, count: int) -> list[int]:
    """Where each entry of the central directory begins."""
    places, position = [], start
    for _ in range(count):
        places.append(position)
        file.seek(position)
        head = file.read(ENTRY_SIZE)
        position += ENTRY_SIZE + sum(struct.unpack_from("<3H", head, 28))
    return places


def _begin(file: BinaryIO, header: int) -> int:
    """Where the content of a record begins, after its local header."""
    file.seek(header)
    name, extra = struct.unpack_from("<2H", file.read(LOCAL_SIZE), 26)
    return header + LOCAL_SIZE + int(name) + int(extra)


def _sum(file: BinaryIO, begin: int, length: int) -> int:
    file.seek(begin)
    found = 0
    while length:
        piece = file.read(min(PIECE, length))
        found, length = zlib.crc32(piece, found), length - len(piece)
    return found


def _put_near(file: BinaryIO, entry: zipfile.ZipInfo, begin: int, renewed: bytes) -> None:
    """In the local header, and behind the content, where they stand there."""
    if not entry.flag_bits & STREAMED:
        _put(file, entry.header_offset + LOCAL_SUM, renewed)
        return
    end = begin + entry.compress_size
    file.seek(end)
    signed = file.read(4) == DESCRIPTOR
    _put(file, end + 4 if signed else end, renewed)
    file.seek(entry.header_offset + LOCAL_SUM)
    if file.read(4) != bytes(4):
        _put(file, entry.header_offset + LOCAL_SUM, renewed)


def _put(file: BinaryIO, position: int, content: bytes) -> None:
    file.seek(position)
    file.write(content)
