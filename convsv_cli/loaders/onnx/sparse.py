"""Sparse initializers as dense tensors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.growth import outgrows
from convsv_cli.loaders.onnx import tensors
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.model.graph import UnknownValueError

Stored = TensorProto | SparseTensorProto
TENSORS = tuple(
    getattr(AttributeProto, name) for name in ("TENSOR", "TENSORS", "SPARSE_TENSOR", "SPARSE_TENSORS")
)
"""Types of attributes that hold some."""


def stored_parts(source: object) -> tuple[TensorProto, ...]:
    """The tensors with the values of a dense or sparse one, or in a node's attributes; none for an input."""
    if isinstance(source, NodeProto):
        held = [each for each in source.attribute if each.type in TENSORS]
        sparse = [part for each in held for part in (each.sparse_tensor, *each.sparse_tensors)]
        dense = [part for each in held for part in (each.t, *each.tensors)]
        return (*dense, *(part for each in sparse for part in stored_parts(each)))
    if isinstance(source, SparseTensorProto):
        return source.values, source.indices
    return (source,) if isinstance(source, TensorProto) else ()


def head(stored: Stored) -> TensorProto:
    """The tensor that has the name, the type and the values other than zero."""
    return stored.values if isinstance(stored, SparseTensorProto) else stored


def check(stored: Stored, model: Path) -> None:
    """See that the values are there.

    Raises:
        UnknownValueError: a sparse tensor much larger than what is stored of it.
        UnreadableModelError, UnsafeModelError: as `tensors.check`; or its indices do not fit.
    """
    if isinstance(stored, TensorProto):
        tensors.check(stored, model)
        return
    for part in (stored.values, stored.indices):
        tensors.check(part, model)
    if outgrows(math.prod(stored.dims), math.prod(stored.values.dims)):
        raise UnknownValueError("a sparse tensor much larger than what is stored of it")
    _positions(stored, model)


def values(stored: Stored, model: Path) -> Array:
    """The values; those of a dense tensor in an external file are mapped, not read."""
    if isinstance(stored, TensorProto):
        return tensors.values(stored, model)
    nonzero = tensors.values(stored.values, model)
    dense = np.zeros(math.prod(stored.dims), nonzero.dtype)
    dense[_positions(stored, model)] = nonzero
    return dense.reshape(tuple(stored.dims))


def _positions(sparse: SparseTensorProto, model: Path) -> Array:
    """Where the values go in the flat tensor; ONNX stores that, or one index an axis."""
    count, shape, indices = list(sparse.values.dims), tuple(sparse.dims), sparse.indices
    fits = indices.data_type == TensorProto.INT64 and min(shape, default=0) >= 0
    if fits and list(indices.dims) == count and len(count) == 1:
        flat = tensors.values(indices, model).astype(np.int64)
    elif fits and list(indices.dims) == [*count, len(shape)] and len(count) == 1:
        table = tensors.values(indices, model).astype(np.int64)
        fits = bool(((table >= 0) & (table < np.array(shape))).all())
        strides = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], np.int64)
        flat = table @ strides
    else:
        fits, flat = False, np.zeros(0, np.int64)
    inside = not flat.size or (flat[0] >= 0 and flat[-1] < math.prod(shape) and (np.diff(flat) > 0).all())
    if not fits or not inside:
        raise UnreadableModelError(
            f"the indices of the sparse tensor {sparse.values.name!r} do not fit it",
            where=str(model),
            hint="export the model again",
        )
    return flat
