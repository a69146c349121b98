"""Tensors whose values are made of those of others: quantised ones, and sparse ones, which are unfolded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from convsv_cli import limits
from convsv_cli.loaders.checkpoint.values import Tensor
from convsv_cli.loaders.loader import StoredTensor, outgrows
from convsv_cli.model.layer import DEQUANTISED

if TYPE_CHECKING:
    import torch

INTEGERS = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
COO = "torch.sparse_coo"
COMPRESSED = ("torch.sparse_csr", "torch.sparse_csc", "torch.sparse_bsr", "torch.sparse_bsc")
BLOCKED, BY_COLUMN = COMPRESSED[2:], COMPRESSED[1::2]
MISFIT = "sparse weights whose parts do not fit each other"
BATCHED = "sparse matrices in a batch, or with dense axes, which convsv does not read"
BEYOND = "sparse weights with indices that are out of range"
DISORDERED = "sparse weights whose rows or columns have no beginning or end"
TWICE = "sparse weights with two values for one entry"
UNFOLDED = "sparse weights: {} entries of which {} are stored, too many to unfold"
UNIT = "quantised weights whose scale is not positive and finite"
PARTS = "quantised weights whose scales do not fit them"


def quantised(values: Tensor, scale: float, zero: int) -> Tensor:
    """A tensor that was quantised by one scale: w = scale (q - zero), in float64."""

    def made(parts: Sequence[StoredTensor]) -> StoredTensor:
        (codes,) = parts
        if not (0 < scale < math.inf):
            return replace(codes, unusable=UNIT)
        return replace(
            codes,
            dtype="float64",
            read=lambda: (codes.read().double() - zero) * scale,
            identity=(codes.identity, scale, zero),
            assumed=(DEQUANTISED.format(values.dtype),),
        )

    return Tensor(shape=values.shape, dtype="float64", made=made, parts=(_codes(values),))


def quantised_along(values: Tensor, scales: Tensor, zeros: Tensor, axis: int) -> Tensor:
    """A tensor quantised by a scale and a zero, which may be no integer, for each entry along an axis."""

    def made(parts: Sequence[StoredTensor]) -> StoredTensor:
        codes, *along = parts
        length = codes.shape[axis : axis + 1] if axis >= 0 else ()
        if not length or any(part.shape != length for part in along):
            return replace(codes, unusable=PARTS)
        if not bool((along[0].read() > 0).all() and along[0].read().isfinite().all()):
            return replace(codes, unusable=UNIT)
        spread = (-1, *(1,) * (len(codes.shape) - axis - 1))

        def read() -> torch.Tensor:
            scale, zero = (part.read().double().reshape(spread) for part in along)
            return (codes.read().double() - zero) * scale

        return replace(
            codes,
            dtype="float64",
            read=read,
            identity=tuple(part.identity for part in parts),
            assumed=(DEQUANTISED.format(values.dtype),),
        )

    return Tensor(shape=values.shape, dtype="float64", made=made, parts=(_codes(values), scales, zeros))


def _codes(values: Tensor) -> Tensor:
    return replace(values, dtype=INTEGERS[values.dtype])


def sparse(layout: str, shape: tuple[int, ...], parts: tuple[Tensor, ...]) -> Tensor:
    """A sparse tensor of one of torch's layouts, as a dense one.

    Args:
        layout: `COO`, or one of `COMPRESSED`.
        shape: of the tensor.
        parts: indices and values of the former; else where rows (or columns) begin, indices, and values.
    """

    def made(found: Sequence[StoredTensor]) -> StoredTensor:
        values = found[-1]
        why = next((part.unusable for part in found if part.unusable), "") or _misfit(layout, shape, found)
        if not why and outgrows(math.prod(shape), math.prod(values.shape)):
            why = UNFOLDED.format(math.prod(shape), math.prod(values.shape))
        if not why and any(part.dtype not in ("int64", "int32") for part in found[:-1]):
            why = MISFIT
        why = why or _disorder(layout, shape, found)
        return StoredTensor(
            shape=shape,
            dtype=values.dtype,
            read=lambda: _dense(layout, shape, found),
            unusable=why,
            identity=tuple(part.identity for part in found),
        )

    return Tensor(shape=shape, dtype=parts[-1].dtype, made=made, parts=parts)


def _misfit(layout: str, shape: tuple[int, ...], parts: Sequence[StoredTensor]) -> str:
    """What is wrong with the shapes of the parts."""
    values = parts[-1].shape
    if layout == COO:
        indices = parts[0].shape
        known = len(indices) == 2 and 0 < indices[0] <= len(shape)
        fits = known and values == (indices[1], *shape[indices[0] :])
        return "" if fits else MISFIT
    begins, along = parts[0].shape, parts[1].shape
    blocks = _block(layout, values)
    if len(shape) != 2 or len(begins) != 1 or len(along) != 1 or blocks is None:
        return BATCHED
    if 0 in blocks or any(n % b for n, b in zip(shape, blocks, strict=True)) or values[:1] != along:
        return MISFIT
    lines = shape[_major(layout)] // blocks[_major(layout)]
    return "" if begins == (lines + 1,) else MISFIT


def _block(layout: str, values: tuple[int, ...]) -> tuple[int, int] | None:
    """Rows and columns of a block; None where the values are of another layout."""
    if layout in BLOCKED:
        return (values[1], values[2]) if len(values) == 3 else None
    return (1, 1) if len(values) == 1 else None


def _major(layout: str) -> int:
    """The axis along which lines are compressed."""
    return int(layout in BY_COLUMN)


def _disorder(layout: str, shape: tuple[int, ...], parts: Sequence[StoredTensor]) -> str:
    """What is wrong with the indices, of parts that fit."""
    stored = sum(math.prod(part.shape) for part in parts)
    limits.spend(10 * stored, "checking the indices of sparse weights")
    if layout == COO:
        indices = parts[0].read()
        ends = indices.new_tensor(shape[: len(indices)]).reshape(-1, 1)
        return BEYOND if bool(((indices < 0) | (indices >= ends)).any()) else ""
    begins, along = (part.read().long() for part in parts[:2])
    if int(begins[0]) or int(begins[-1]) != len(along) or bool((begins.diff() < 0).any()):
        return DISORDERED
    major, block = _major(layout), _block(layout, parts[-1].shape) or (1, 1)
    count = shape[1 - major] // block[1 - major]
    if bool(((along < 0) | (along >= count)).any()):
        return BEYOND
    places = (_lines(begins) * count + along).sort().values
    return TWICE if bool((places.diff() == 0).any()) else ""


def _lines(begins: torch.Tensor) -> torch.Tensor:
    """The row (or column) of each stored value, by where these begin."""
    import torch

    return torch.arange(len(begins) - 1).repeat_interleave(begins.diff())


def _dense(layout: str, shape: tuple[int, ...], parts: Sequence[StoredTensor]) -> torch.Tensor:
    """All entries in float64; values of a COO tensor for one entry are added, as torch does."""
    import torch

    limits.hold(8 * math.prod(shape), "unfolding sparse weights")
    limits.spend(math.prod(shape), "unfolding sparse weights")
    values = parts[-1].read().double()
    if layout == COO:
        indices = parts[0].read().long()
        return torch.zeros(shape, dtype=torch.float64).index_put_(tuple(indices), values, accumulate=True)
    begins, along = (part.read().long() for part in parts[:2])
    rows, columns = _block(layout, parts[-1].shape) or (1, 1)
    lines = (_lines(begins), along)
    cells = torch.zeros(shape[0] // rows, shape[1] // columns, rows, columns, dtype=torch.float64)
    cells[lines if _major(layout) == 0 else lines[::-1]] = values.reshape(-1, rows, columns)
    return cells.transpose(1, 2).reshape(shape)
