"""Graphs back to ONNX models, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from convsv_cli.model.graph import Body, Graph, Node
from tests.support import runtime

OPSET = 21
"""Graphs are in the newest operator set; this one says the same, and onnxruntime has it."""


def model_of(graph: Graph) -> ModelProto:
    """The model of a graph whose operators are all ONNX's own."""
    wanted = {name for name in _names(graph.main) if name in graph.constants}
    whole = helper.make_graph(
        [_node(node) for node in graph.main.nodes],
        "g",
        [_info(graph, name, graph.shapes.get(name)) for name in graph.inputs],
        [_info(graph, name, graph.shapes.get(name)) for name in graph.main.outputs],
        [_initializer(graph, name) for name in sorted(wanted)],
    )
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def run(graph: Graph, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs, without any optimisation of onnxruntime's own."""
    return session(graph).run(None, inputs)


def session(graph: Graph) -> onnxruntime.InferenceSession:
    return runtime.session(model_of(graph), rewritten=False)


def _names(body: Body) -> Iterator[str]:
    for node in body.nodes:
        yield from node.inputs
        for _, inner in node.bodies:
            yield from _names(inner)
    yield from body.outputs


def _node(node: Node) -> NodeProto:
    bodies = {
        name: helper.make_graph(
            [_node(inner) for inner in body.nodes],
            name,
            [],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in body.outputs],
        )
        for name, body in node.bodies
    }
    return helper.make_node(
        node.op, list(node.inputs), list(node.outputs), node.name, **dict(node.attributes), **bodies
    )


def _info(graph: Graph, name: str, shape: tuple[int | None, ...] | None) -> object:
    return helper.make_tensor_value_info(name, _kind(graph, name), shape)


def _kind(graph: Graph, name: str) -> int:
    return TensorProto.DataType.Value(graph.dtypes.get(name, "float").upper())


def _initializer(graph: Graph, name: str) -> TensorProto:
    dtype = helper.tensor_dtype_to_np_dtype(_kind(graph, name))
    return numpy_helper.from_array(np.asarray(graph.constants[name]().read(), dtype), name)
