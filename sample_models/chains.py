"""Graphs of plain sequences of layers, written node by node: torch's exporter takes several for some."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper, numpy_helper
from torch import nn

OPSET, IR_VERSION = 18, 10


def chain(model: nn.Sequential, name: str, shape: tuple[int, ...], results: Sequence[str]) -> onnx.ModelProto:
    """From "image" to the last of `results`, with the names of the state dict and a dynamic batch dimension.

    Args:
        model: of Conv2d, ReLU, Softplus, Flatten and Linear, which ends with a Linear.
        name: of the graph.
        shape: of one image.
        results: names of what the layers put out, one each.
    """
    sources = ["image", *results]
    steps = zip(model.named_children(), sources[:-1], results, strict=True)
    nodes = [_node(layer, key, source, result) for (key, layer), source, result in steps]
    ends = [
        helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, ["batch", *axes])
        for end, axes in ((sources[0], shape), (sources[-1], (model[-1].out_features,)))
    ]
    weights = [
        numpy_helper.from_array(each.contiguous().numpy(), key) for key, each in model.state_dict().items()
    ]
    body = helper.make_graph(nodes, name, ends[:1], ends[1:], weights)
    proto = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _node(layer: nn.Module, key: str, source: str, result: str) -> onnx.NodeProto:
    inputs = [source, *(f"{key}.{name}" for name, _ in layer.named_parameters())]
    if isinstance(layer, nn.Conv2d):
        pads = {"pads": layer.padding * 2} if any(layer.padding) else {}
        return helper.make_node(
            "Conv", inputs, [result], strides=layer.stride, kernel_shape=layer.kernel_size, **pads
        )
    if isinstance(layer, nn.Linear):
        return helper.make_node("Gemm", inputs, [result], transB=1)
    op = {nn.ReLU: "Relu", nn.Softplus: "Softplus", nn.Flatten: "Flatten"}[type(layer)]
    return helper.make_node(op, inputs, [result])
