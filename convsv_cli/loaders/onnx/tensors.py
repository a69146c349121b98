"""Values of ONNX tensors, dense or sparse, embedded in the model or in external data files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto, numpy_helper

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.files import locate
from convsv_cli.loaders.loader import outgrows
from convsv_cli.loaders.onnx.protobuf import HERE
from convsv_cli.model.graph import UnknownValueError
from convsv_cli.model.home import Home, NoHomeError, Place, plain
from convsv_cli.remote.files import opened, size, view

Array = NDArray[np.generic]
Stored = TensorProto | SparseTensorProto
# fmt: off
PACKED_BITS = {
    "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6,
}
"""Bits per element, for the types whose elements share bytes."""
TYPED_FIELDS = (
    "raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data",
)
# fmt: on
CHANGED = "the file was changed while it was read"
HOLDING_TENSORS = (
    AttributeProto.TENSOR,
    AttributeProto.TENSORS,
    AttributeProto.SPARSE_TENSOR,
    AttributeProto.SPARSE_TENSORS,
)
"""Types of attributes."""


def external_file(tensor: TensorProto) -> str | None:
    """The file that holds the values, relative to the model's folder; None where they are embedded.

    `HERE` where an outline of the model left them in its file.
    """
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def stored_parts(source: object) -> tuple[TensorProto, ...]:
    """The tensors with the values of a dense or sparse one, or in a node's attributes; none for an input."""
    if isinstance(source, NodeProto):
        held = [each for each in source.attribute if each.type in HOLDING_TENSORS]
        sparse = [part for each in held for part in (each.sparse_tensor, *each.sparse_tensors)]
        dense = [part for each in held for part in (each.t, *each.tensors)]
        return (*dense, *(part for each in sparse for part in stored_parts(each)))
    if isinstance(source, SparseTensorProto):
        return source.values, source.indices
    return (source,) if isinstance(source, TensorProto) else ()


def head(stored: Stored) -> TensorProto:
    """The tensor that has the name, the type and the nonzero values."""
    return stored.values if isinstance(stored, SparseTensorProto) else stored


def dtype_name(stored: Stored) -> str:
    """As NumPy names the type in which it is stored, e.g. "float16"."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(head(stored).data_type))


def type_name(dtype: np.dtype) -> str:
    """As ONNX names a type, in lower case, e.g. "double"."""
    return str(TensorProto.DataType.Name(onnx.helper.np_dtype_to_tensor_dtype(dtype))).lower()


def numpy_type(name: str) -> np.dtype:
    """The type that `type_name` names."""
    return onnx.helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name.upper()))


def check(stored: Stored, model: Path) -> None:
    """Make sure that the values exist, without reading those of dense tensors.

    Raises:
        UnknownValueError: a sparse tensor much larger than what is stored of it.
        UnreadableModelError: there are no values, or not as many as the shape says; indices do not fit.
        UnsafeModelError: the values are outside the model's folder, or not in a regular file.
    """
    for part in stored_parts(stored):
        _check_dense(part, model)
    if isinstance(stored, SparseTensorProto):
        if outgrows(math.prod(stored.dims), math.prod(stored.values.dims)):
            raise UnknownValueError("a sparse tensor much larger than what is stored of it")
        _positions(stored, model)


def values(stored: Stored, model: Path) -> Array:
    """The values of a tensor that `check` accepted; those of a dense one in an external file are mapped."""
    if isinstance(stored, TensorProto):
        return _dense(stored, model)
    nonzero = _dense(stored.values, model)
    dense = np.zeros(math.prod(stored.dims), nonzero.dtype)
    dense[_positions(stored, model)] = nonzero
    return dense.reshape(tuple(stored.dims))


def home(stored: Stored, model: Path, *, main: bool) -> Home:
    """How the values of a tensor that `check` accepted are stored.

    Args:
        stored: the tensor.
        model: the file.
        main: whether it is of the main graph.

    Raises:
        NoHomeError: others cannot be stored in their place.
    """
    if isinstance(stored, SparseTensorProto) or _type_name(stored) in PACKED_BITS:
        raise NoHomeError("its values are stored in another way than one after the other")
    shape, dtype = tuple(stored.dims), dtype_name(stored)
    stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    if external_file(stored) is not None:
        path, offset, _ = _external_span(stored, model)
        return plain(Place(shape=shape, dtype=dtype, file=path, start=offset, stride=stride))
    if not main or not stored.name:
        raise NoHomeError("it is a constant within the graph, and no initializer")
    return plain(Place(shape=shape, dtype=dtype, name=stored.name))


def embed(tensor: TensorProto, model: Path) -> None:
    """Move the values of an external file into the tensor: libraries look for that file in other folders.

    Raises:
        UnreadableModelError, UnsafeModelError: as `check`.
    """
    check(tensor, model)
    found = values(tensor, model)
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    tensor.raw_data = numpy_helper.from_array(found).raw_data


def _damaged(what: str, model: Path) -> UnreadableModelError:
    return UnreadableModelError(what, where=str(model), hint="export the model again")


def _check_dense(tensor: TensorProto, model: Path) -> None:
    if min(tensor.dims, default=0) < 0:
        raise _damaged(f"the tensor {tensor.name!r} has a negative size", model)
    if tensor.data_type not in onnx.helper.get_all_tensor_dtypes():
        raise _damaged(f"the tensor {tensor.name!r} has a data type that ONNX does not define", model)
    if external_file(tensor) is not None:
        _external_span(tensor, model)
    elif len(tensor.raw_data) not in (0, _stored_bytes(tensor)):
        raise _damaged(f"the data of the tensor {tensor.name!r} have the wrong length for its shape", model)
    elif math.prod(tensor.dims) and not any(len(getattr(tensor, field)) for field in TYPED_FIELDS):
        raise _damaged(f"the tensor {tensor.name!r} has no data", model)


def _dense(tensor: TensorProto, model: Path) -> Array:
    if external_file(tensor) is None:
        return _embedded(tensor, model)
    path, offset, length = _external_span(tensor, model)
    if _type_name(tensor) in PACKED_BITS:
        packed = view(path, offset, length).tobytes() if length else b""
        return _embedded(TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=packed), model)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if not length:
        return np.zeros(tuple(tensor.dims), dtype)
    if path == model:
        return _read(path, offset, np.empty(tuple(tensor.dims), dtype))
    return view(path, offset, length).view(dtype).reshape(tuple(tensor.dims))


def _read(path: Path, offset: int, into: Array) -> Array:
    """Values that protobuf put at any position: arithmetic wants them at a multiple of their size."""
    with opened(path) as file:
        file.seek(offset)
        if file.readinto(into.reshape(-1).view(np.uint8)) != into.nbytes:  # type: ignore[attr-defined]
            raise UnreadableModelError(CHANGED, where=str(path), hint="run it again")
    return into


def _embedded(tensor: TensorProto, model: Path) -> Array:
    try:
        array: Array = numpy_helper.to_array(tensor)
    except ValueError as error:
        raise _damaged(f"the data of {tensor.name!r} do not fit its shape: {error}", model) from error
    return array


def _type_name(tensor: TensorProto) -> str:
    return str(TensorProto.DataType.Name(tensor.data_type))


def _stored_bytes(tensor: TensorProto) -> int:
    """How many bytes the values take, according to the shape and the type."""
    whole = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    bits = math.prod(tensor.dims) * PACKED_BITS.get(_type_name(tensor), whole)
    return int(-(-bits // 8))


def _external_span(tensor: TensorProto, model: Path) -> tuple[Path, int, int]:
    """The file, offset and length of the values, checked against the folder, the file and the shape."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    path = model if location == HERE else locate(model, location, f"the tensor {tensor.name!r}")
    needed = _stored_bytes(tensor)
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", needed))
    except ValueError:
        offset = length = -1
    if length != needed or offset < 0 or offset + length > size(path):
        raise _misfit(tensor, path, model, shaped=length == needed)
    return path, offset, length


def _misfit(tensor: TensorProto, path: Path, model: Path, *, shaped: bool) -> UnreadableModelError:
    """What is wrong with values that are not where they should be; `shaped`: as many as there should be."""
    if path != model:
        return UnreadableModelError(
            f"the external data of {tensor.name!r} in {path.name!r} are too short, or have the wrong length",
            where=str(model),
            hint="copy the data file again, or export the model again",
        )
    if shaped:
        return UnreadableModelError(CHANGED, where=str(model), hint="run it again")
    return _damaged(f"the data of the tensor {tensor.name!r} have the wrong length for its shape", model)


def _positions(sparse: SparseTensorProto, model: Path) -> Array:
    """Where the values go in the flat tensor; ONNX stores that, or one index per axis."""
    count, shape, indices = list(sparse.values.dims), tuple(sparse.dims), sparse.indices
    fits = indices.data_type == TensorProto.INT64 and min(shape, default=0) >= 0
    if fits and list(indices.dims) == count and len(count) == 1:
        flat = _dense(indices, model).astype(np.int64)
    elif fits and list(indices.dims) == [*count, len(shape)] and len(count) == 1:
        table = _dense(indices, model).astype(np.int64)
        fits = bool(((table >= 0) & (table < np.array(shape))).all())
        strides = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], np.int64)
        flat = table @ strides
    else:
        fits, flat = False, np.zeros(0, np.int64)
    inside = not flat.size or (flat[0] >= 0 and flat[-1] < math.prod(shape) and (np.diff(flat) > 0).all())
    if not fits or not inside:
        raise _damaged(f"the indices of the sparse tensor {sparse.values.name!r} do not fit it", model)
    return flat
