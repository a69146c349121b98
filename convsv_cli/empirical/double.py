"""A model in double precision, in which its own rounding is too small to lift a ratio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper
from onnx.numpy_helper import from_array, to_array

from convsv_cli.empirical.function import Function, Port, one_line, session_of
from convsv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NARROW = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
TYPES = ("to", "dtype", "output_dtype", "output_datatype")
"""Attributes that name a type."""
SINGLE = {"Resize": (2,), "Upsample": (1,), "DequantizeLinear": (1,)}
"""Inputs that are in single precision whatever the others are."""
SINGLE_RESULTS = ("DequantizeLinear",)


def in_double(path: Path, function: Function, content: bytes = b"") -> Function:
    """The function of the same model, with everything in it that is real in double precision.

    Args:
        path, content: as of `Function.load`.
        function: of the model as it is.

    Raises:
        UsageError: neither onnxruntime nor ONNX's own implementation runs it.
    """
    with one_line("the model has no double precision", str(path)):
        if not content:
            return _in_double(onnx.load(path), function)
        model = onnx.load_model_from_string(content)
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        return _in_double(model, function)


def _in_double(model: ModelProto, function: Function) -> Function:
    _widen(model.graph)
    for each in model.functions:
        nodes = [made for node in each.node for made in _widened(node)]
        del each.node[:], each.value_info[:]
        each.node.extend(nodes)
    ports = tuple(replace(port, dtype=np.dtype("float64")) if port.real else port for port in function.ports)
    try:
        return _tried(session_of(None, model.SerializeToString()), ports, function)
    except (UsageError, ValueError):  # the latter where it is too large for one message
        return _tried(_Reference(model), ports, function)


def _tried(session: Any, ports: tuple[Port, ...], like: Function) -> Function:  # noqa: ANN401
    found = Function(session, ports)
    found.fixed = like.fixed
    found.alone(np.zeros((1, like.size)))
    return found


@dataclass(frozen=True)
class _Reference:
    """ONNX's own implementation, as a session."""

    model: ModelProto

    def get_outputs(self) -> list[Any]:
        names = {TensorProto.DOUBLE: "tensor(double)"}
        return [
            SimpleNamespace(name=value.name, type=names.get(value.type.tensor_type.elem_type, ""))
            for value in self.model.graph.output
        ]

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> Any:  # noqa: ANN401
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(self.model).run(names, dict(feeds))


def _widen(graph: GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        _widen_type(value)
    del graph.value_info[:]
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        _widen_tensor(tensor)
    nodes = [made for node in graph.node for made in _widened(node)]
    del graph.node[:]
    graph.node.extend(nodes)


def _widen_type(value: ValueInfoProto) -> None:
    if value.type.tensor_type.elem_type in NARROW:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in NARROW:
        tensor.CopyFrom(from_array(to_array(tensor).astype(np.float64), tensor.name))


def _widened(node: NodeProto) -> Iterator[NodeProto]:
    """The node, with a Cast before and after it where it has no choice of its type."""
    for attribute in node.attribute:
        _widen_attribute(attribute)
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", from_array(np.zeros(1))))
    stem = next(iter(node.output), "")
    for index in SINGLE.get(node.op_type, ()):
        if index < len(node.input) and node.input[index]:
            narrow = f"{stem}/single{index}"
            yield helper.make_node("Cast", [node.input[index]], [narrow], to=TensorProto.FLOAT)
            node.input[index] = narrow
    yield node
    if node.op_type in SINGLE_RESULTS:
        node.output[0] = f"{stem}/single"
        yield helper.make_node("Cast", [node.output[0]], [stem], to=TensorProto.DOUBLE)


def _widen_attribute(attribute: AttributeProto) -> None:
    if attribute.name in TYPES and attribute.i in NARROW:
        attribute.i = TensorProto.DOUBLE
    elif attribute.name in ("value_float", "value_floats"):
        values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        attribute.CopyFrom(helper.make_attribute("value", from_array(np.array(values, np.float64))))
    elif attribute.type == AttributeProto.TENSOR:
        _widen_tensor(attribute.t)
    for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
        _widen(body)
