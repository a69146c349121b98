"""What is known once the input's size is: shapes as values, and types that follow other tensors."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from convsv_cli.loaders.onnx.scopes import Scope
from convsv_cli.loaders.onnx.shapes import Shapes


def freeze(scopes: list[Scope], shapes: Shapes) -> int:
    """Make Shape and Size nodes constants where the dimensions are known, and CastLike a Cast; how many."""
    return sum(_frozen(node, scope, shapes) for scope in scopes for node in scope.graph.node)


def _frozen(node: NodeProto, scope: Scope, shapes: Shapes) -> bool:
    if node.domain not in ("", "ai.onnx") or not node.input:
        return False
    if node.op_type == "CastLike":
        return _cast(node, scope, shapes)
    if node.op_type not in ("Shape", "Size"):
        return False
    known = shapes.find(scope, node.input[0])
    if known is None or not all(isinstance(size, int) for size in known):
        return False
    sizes = np.array(known, np.int64)
    window = {attribute.name: attribute.i for attribute in node.attribute}
    value = sizes[window.get("start", 0) : window.get("end", len(sizes))]
    if node.op_type == "Size":
        value = np.asarray(np.prod(sizes), np.int64)
    constant = onnx.numpy_helper.from_array(value)
    node.CopyFrom(onnx.helper.make_node("Constant", [], node.output, node.name, value=constant))
    return True


def _cast(node: NodeProto, scope: Scope, shapes: Shapes) -> bool:
    dtype = shapes.dtype(scope, node.input[1])
    if dtype is None:
        return False
    kind = TensorProto.DataType.Value(dtype.upper())
    node.CopyFrom(onnx.helper.make_node("Cast", node.input[:1], node.output, node.name, to=kind))
    return True
