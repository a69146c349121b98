"""Values of ONNX tensors, embedded in the model or in files beside it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.external_files import locate

Array = NDArray[np.generic]
PACKED_BITS = {
    "INT4": 4,
    "UINT4": 4,
    "FLOAT4E2M1": 4,
    "INT2": 2,
    "UINT2": 2,
    "FLOAT6E2M3": 6,
    "FLOAT6E3M2": 6,
}
"""Of an element, for the types that share bytes."""
TYPED_FIELDS = (
    "raw_data",
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)


def external_file(tensor: TensorProto) -> str | None:
    """The file that holds the values, relative to the model's folder; None where they are embedded."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def dtype_name(tensor: TensorProto) -> str:
    """As stored, e.g. "float16"."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))


def type_name(dtype: np.dtype) -> str:
    """ONNX's name of a type, in lower case, e.g. "double"."""
    return str(TensorProto.DataType.Name(onnx.helper.np_dtype_to_tensor_dtype(dtype))).lower()


def numpy_type(name: str) -> np.dtype:
    """The type of such a name."""
    return onnx.helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name.upper()))


def check(tensor: TensorProto, model: Path) -> None:
    """See that the values are there, without reading them.

    Raises:
        UnreadableModelError: there are none, or not as many as the shape says.
        UnsafeModelError: they lie outside the model's folder, or in what is no regular file.
    """
    if min(tensor.dims, default=0) < 0:
        raise UnreadableModelError(
            f"the tensor {tensor.name!r} has a negative size", where=str(model), hint="export the model again"
        )
    if tensor.data_type not in onnx.helper.get_all_tensor_dtypes():
        raise UnreadableModelError(
            f"the tensor {tensor.name!r} is of no type that ONNX has",
            where=str(model),
            hint="export the model again",
        )
    if external_file(tensor) is not None:
        _external_span(tensor, model)
    elif len(tensor.raw_data) not in (0, _stored_bytes(tensor)):
        raise UnreadableModelError(
            f"the data of the tensor {tensor.name!r} are of another length than its shape",
            where=str(model),
            hint="export the model again",
        )
    elif math.prod(tensor.dims) and not any(len(getattr(tensor, field)) for field in TYPED_FIELDS):
        raise UnreadableModelError(
            f"the tensor {tensor.name!r} has no data", where=str(model), hint="export the model again"
        )


def values(tensor: TensorProto, model: Path) -> Array:
    """The values; those of an external file are mapped, not read."""
    if external_file(tensor) is None:
        return _embedded(tensor, model)
    path, offset, length = _external_span(tensor, model)
    if _type_name(tensor) in PACKED_BITS:
        packed = np.fromfile(path, np.uint8, length, offset=offset).tobytes()
        return _embedded(TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=packed), model)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if not length:
        return np.zeros(tuple(tensor.dims), dtype)
    stored = np.memmap(path, np.uint8, "r", offset, (length,))
    return stored.view(dtype).reshape(tuple(tensor.dims))


def embed(tensor: TensorProto, model: Path) -> None:
    """Put the values of an external file in: what is made for whole models looks for it in other places.

    Raises:
        UnreadableModelError, UnsafeModelError: as `check`.
    """
    check(tensor, model)
    found = values(tensor, model)
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    tensor.raw_data = numpy_helper.from_array(found).raw_data


def _embedded(tensor: TensorProto, model: Path) -> Array:
    try:
        array: Array = numpy_helper.to_array(tensor)
    except ValueError as error:
        raise UnreadableModelError(
            f"the data of the tensor {tensor.name!r} do not fit its shape: {error}",
            where=str(model),
            hint="export the model again",
        ) from error
    return array


def _type_name(tensor: TensorProto) -> str:
    return str(TensorProto.DataType.Name(tensor.data_type))


def _stored_bytes(tensor: TensorProto) -> int:
    """How many bytes the values take, as the shape and the type say."""
    whole = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    bits = math.prod(tensor.dims) * PACKED_BITS.get(_type_name(tensor), whole)
    return int(-(-bits // 8))


def _external_span(tensor: TensorProto, model: Path) -> tuple[Path, int, int]:
    """The file, offset and length of the values, checked against the folder, the file and the shape."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = locate(model, entries.get("location", ""), f"the tensor {tensor.name!r}")
    needed = _stored_bytes(tensor)
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", needed))
    except ValueError:
        offset = length = -1
    if length != needed or offset < 0 or offset + length > path.stat().st_size:
        raise UnreadableModelError(
            f"the external data of {tensor.name!r} in {path.name!r} are too short, or of another length",
            where=str(model),
            hint="copy the data file again, or export the model again",
        )
    return path, offset, length
