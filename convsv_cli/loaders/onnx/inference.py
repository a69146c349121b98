"""What onnx's C++ does with models that strangers wrote; it runs in a child process only (see `confined`)."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import ModelProto
from onnx.inliner import inline_local_functions

Report = Callable[[float], None]


def infer(model: bytes, _report: Report) -> bytes:
    """The model with the shapes that follow from its inputs'; where some contradict, those do not follow."""
    return _bytes(onnx.shape_inference.infer_shapes(model, data_prop=True))


def infer_strictly(model: bytes, _report: Report) -> bytes:
    """The same, and contradictions raise."""
    return _bytes(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))


def inline(model: bytes, _report: Report) -> bytes:
    """The model without local functions; those of other operator sets are converted to its own.

    Conversion wants to know the types of what a function is given, which few models say.
    """
    whole = onnx.load_model_from_string(model)
    try:
        return _bytes(inline_local_functions(whole, convert_version=True))
    except Exception:  # noqa: BLE001  (onnx raises many types)
        typed = onnx.shape_inference.infer_shapes(whole)
        typed.graph.value_info.extend(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in typed.graph.initializer
        )
        return _bytes(inline_local_functions(typed, convert_version=True))


def _bytes(model: ModelProto) -> bytes:
    data: bytes = model.SerializeToString()
    return data
