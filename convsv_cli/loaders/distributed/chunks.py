"""Tensors in chunks: boxes of entries, which must be all of the tensor, each entry once."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from convsv_cli import limits
from convsv_cli.digits import short
from convsv_cli.loaders.loader import StoredTensor

HOLES = "its chunks in the checkpoint leave {} of its {} entries out"
OVERLAP = "its chunks in the checkpoint overlap: which of them count is not said"
OUTSIDE = "a chunk in the checkpoint lies outside of it"


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A box of a tensor's entries.

    Attributes:
        offsets: of its first entry along each axis.
        sizes: along each axis.
        read: gives its values, which have these sizes.
        place: where they are stored: equal for two chunks that are one in the file.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    read: Callable[[], torch.Tensor]
    place: Hashable

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index."""
        return tuple(slice(at, at + size) for at, size in zip(self.offsets, self.sizes, strict=True))


def assembled(shape: tuple[int, ...], dtype: str, chunks: Sequence[Chunk]) -> StoredTensor:
    """The tensor that the chunks are, each of which is read when all are; unusable where they are not all.

    Args:
        shape: of the tensor: integers, 0 or more.
        dtype: of it and of each chunk, as torch calls it.
        chunks: those that are stored, in any order.

    Raises:
        LimitError: more chunks than the model may have.
    """
    filled = [chunk for chunk in chunks if 0 not in chunk.sizes]
    return StoredTensor(
        shape=shape,
        dtype=dtype,
        read=lambda: _joined(shape, dtype, filled),
        unusable=fault(shape, filled),
        identity=tuple(chunk.place for chunk in filled) or None,
    )


def fault(shape: tuple[int, ...], chunks: Sequence[Chunk]) -> str:
    """Why boxes, none of them empty, are not all entries of a tensor of this shape, each once; or nothing.

    The planes of all their faces cut the tensor into cells, which a box contains or does not meet. Boxes
    that have as many cells together as there are, and none in common, are all.
    """
    limits.spend(limits.OBJECT * (1 + len(chunks)) * (1 + len(shape)), "comparing the chunks of a tensor")
    if not all(len(chunk.offsets) == len(chunk.sizes) == len(shape) for chunk in chunks):
        return OUTSIDE
    for chunk in chunks:
        ends = zip(chunk.offsets, chunk.sizes, shape, strict=True)
        if any(at < 0 or size < 0 or at + size > whole for at, size, whole in ends):
            return OUTSIDE
    count, stored = math.prod(shape), sum(math.prod(chunk.sizes) for chunk in chunks)
    if stored < count:
        return HOLES.format(short(count - stored, 3), short(count, 3))
    if stored > count:
        return OVERLAP
    return OVERLAP if _overlap(shape, chunks) else ""


def _overlap(shape: tuple[int, ...], chunks: Sequence[Chunk]) -> bool:
    """Whether two of the boxes have a cell in common; they have as many entries together as the tensor."""
    axes = range(len(shape))
    planes = [sorted({0, shape[a], *(c.offsets[a] for c in chunks)}) for a in axes]
    cells = [{plane: index for index, plane in enumerate(along)} for along in planes]
    if any(c.offsets[a] + c.sizes[a] not in cells[a] for c in chunks for a in axes):
        return True  # boxes that fill a tensor end where others begin
    sizes = [max(1, len(along) - 1) for along in planes]
    limits.hold(math.prod(sizes), "comparing the chunks of a tensor")
    limits.spend(math.prod(sizes), "comparing the chunks of a tensor")
    taken = np.zeros(sizes, bool)
    for chunk in chunks:
        box = tuple(
            slice(cells[a][chunk.offsets[a]], cells[a][chunk.offsets[a] + chunk.sizes[a]]) for a in axes
        )
        if taken[box].any():
            return True
        taken[box] = True
    return False


def _joined(shape: tuple[int, ...], dtype: str, chunks: Sequence[Chunk]) -> torch.Tensor:
    if len(chunks) == 1:
        return chunks[0].read()
    kind: torch.dtype = getattr(torch, dtype)
    limits.hold(math.prod(shape) * kind.itemsize, "joining the chunks of a tensor")
    whole = torch.empty(shape, dtype=kind)
    for chunk in chunks:
        whole[chunk.slices] = chunk.read()
    return whole
