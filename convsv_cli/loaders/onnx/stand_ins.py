"""What shape inference sees in place of nodes of which it knows no shapes."""

from __future__ import annotations

import onnx
from onnx import GraphProto, TensorProto, ValueInfoProto

from convsv_cli.loaders.onnx.history import own
from convsv_cli.loaders.onnx.scopes import bodies

UNKNOWN = frozenset(("GroupNormalization",))
"""Operators of some version of which onnx infers no shape at all."""
SAME_SHAPE = UNKNOWN | {"Gelu", "LayerNormalization", "RMSNormalization", "RotaryEmbedding"}
"""Operators whose first result is of the shape of their first input."""
PACKED = frozenset(("MatMulBnb4", "MatMulNBits"))
"""Products with a matrix [K, N] whose entries share bytes; of com.microsoft."""


def stand_in(graph: GraphProto, opset: int) -> list[ValueInfoProto]:
    """Put an Identity for operators newer than the model's, and a MatMul for packed ones; in place.

    onnxruntime uses operators of newer operator sets all the same.

    Args:
        graph: of a skeleton.
        opset: of ONNX's own operators.

    Returns:
        The inputs that the main graph then has to have: a matrix for each MatMul.
    """
    found = []
    for node in graph.node:
        for _, body in bodies(node):
            found.extend(stand_in(body, opset))
        op = node.op_type
        newer = op in UNKNOWN or not onnx.defs.has(op, max_inclusive_version=opset)
        if op in SAME_SHAPE and newer and own(node):
            node.CopyFrom(onnx.helper.make_node("Identity", node.input[:1], node.output[:1], node.name))
        elif node.domain == "com.microsoft" and op in PACKED and node.input:
            sizes = {attribute.name: attribute.i for attribute in node.attribute}
            name, shape = f"{node.output[0]}/matrix", [sizes.get("K", 0), sizes.get("N", 0)]
            found.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
            node.CopyFrom(onnx.helper.make_node("MatMul", [node.input[0], name], node.output, node.name))
    return found
