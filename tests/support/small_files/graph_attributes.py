"""ONNX graphs whose attributes have types and sizes that their operators do not take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper

from tests.support.onnx_models import graph_model, normal
from tests.support.small_files.graph_constants import BESIDE, NODE, integers, saved
from tests.support.small_files.small_file import SmallFile

WEIGHTS = {
    f"{BESIDE}.weight": normal(4, 3, 3, 3),
    "k": normal(4, 4, 3, 3),
    "m": normal(6, 6),
    "r": normal(1, 8, 2),
    "q": np.ones((4, 2, 8), np.uint8),
    "s": np.ones((4, 2), np.float32),
    "i": integers(0, 1),
    "four": integers(1, 1, 1, 1),
}
VALUE = numpy_helper.from_array(np.ones(2, np.float32))
WRONG: tuple[tuple[str, tuple[str, ...], Mapping[str, Any]], ...] = (
    ("LeakyRelu", (), {"alpha": "x"}),
    ("Elu", (), {"alpha": VALUE}),
    ("Selu", (), {"gamma": [1.0, 2.0]}),
    ("Celu", (), {"alpha": 1}),
    ("HardSigmoid", (), {"beta": "1"}),
    ("ThresholdedRelu", (), {"alpha": "x"}),
    ("Shrink", (), {"lambd": VALUE}),
    ("Gelu", (), {"approximate": 1}),
    ("Softmax", (), {"axis": "last"}),
    ("LogSoftmax", (), {"axis": 2**62}),
    ("Cast", (), {"to": VALUE}),
    ("Cast", (), {"to": 2**40}),
    ("Conv", ("k",), {"group": 2**62}),
    ("Conv", ("k",), {"pads": [1.0, 1.0, 1.0, 1.0]}),
    ("Conv", ("k",), {"strides": "1"}),
    ("Conv", ("k",), {"strides": [2**62, 2**62]}),
    ("Conv", ("k",), {"dilations": 2}),
    ("Conv", ("k",), {"auto_pad": [1]}),
    ("Conv", ("k",), {"kernel_shape": VALUE}),
    ("ConvTranspose", ("k",), {"output_padding": "x"}),
    ("ConvTranspose", ("k",), {"output_shape": [2**50, 2**50]}),
    ("Gemm", ("m",), {"alpha": "x"}),
    ("Gemm", ("m",), {"transB": 1.0}),
    ("Gemm", ("m",), {"beta": VALUE}),
    ("Einsum", ("m",), {"equation": 3}),
    ("MaxPool", (), {"kernel_shape": "3"}),
    ("AveragePool", (), {"kernel_shape": [2**62, 1]}),
    ("LpPool", (), {"kernel_shape": [2, 2], "p": "2"}),
    ("LRN", (), {"size": 1.5}),
    ("LRN", (), {"size": 2**62}),
    ("BatchNormalization", ("i", "i", "i", "i"), {"epsilon": "x"}),
    ("LayerNormalization", ("m",), {"axis": [1]}),
    ("GroupNormalization", ("s", "s"), {"num_groups": 2**62}),
    ("Transpose", (), {"perm": ["a"]}),
    ("Transpose", (), {"perm": list(range(70_000))}),
    ("Concat", (), {"axis": VALUE}),
    ("Split", (), {"num_outputs": "2"}),
    ("Gather", ("i",), {"axis": 1.0}),
    ("Resize", ("", "", "four"), {"mode": 1}),
    ("Pad", ("four",), {"mode": VALUE}),
    ("LSTM", ("r", "r"), {"hidden_size": "2"}),
    ("LSTM", ("r", "r"), {"activations": [1, 2]}),
    ("RNN", ("r", "r"), {"clip": "x"}),
    ("Trilu", (), {"upper": "x"}),
    ("CumSum", ("i",), {"exclusive": 1.0}),
    ("ReduceMean", (), {"keepdims": "yes"}),
    ("DepthToSpace", (), {"blocksize": VALUE}),
    ("If", (), {"then_branch": 1, "else_branch": "x"}),
    ("Constant", (), {"value": 1.0}),
    ("Relu", (), {"ops": 5, "reason": VALUE, "expression": 1}),
)


def each_of_its_own() -> ModelProto:
    """One node for each of `WRONG`, all of one tensor."""
    nodes = [
        NODE(op, ["c", *inputs], [f"y{i}"], **attributes)
        for i, (op, inputs, attributes) in enumerate(WRONG)
        if op != "Constant"
    ]
    return graph_model(
        [NODE("Conv", ["x", f"{BESIDE}.weight"], ["c"]), *nodes],
        {"x": [1, 3, 8, 8]},
        WEIGHTS,
        [node.output[0] for node in nodes],
        opset=21,
    )


def with_node(node: NodeProto) -> ModelProto:
    nodes = [NODE("Conv", ["x", f"{BESIDE}.weight"], ["c"]), node]
    return graph_model(nodes, {"x": [1, 3, 8, 8]}, WEIGHTS, opset=21)


def without_type() -> ModelProto:
    node = NODE("LeakyRelu", ["c"], ["y"])
    node.attribute.add(name="alpha", f=0.5)
    return with_node(node)


def of_a_function() -> ModelProto:
    node = NODE("LeakyRelu", ["c"], ["y"])
    node.attribute.add(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="slope")
    return with_node(node)


def foreign() -> ModelProto:
    """Of operators that are not ONNX's: one that convsv knows, and one with names that convsv uses itself."""
    nodes = [
        NODE("Conv", ["x", f"{BESIDE}.weight"], ["c"]),
        NODE(
            "MatMulNBits", ["c", "q", "s"], ["y"], domain="com.microsoft", K="16", N=4, bits=4, block_size=16
        ),
        NODE("Gate", ["c", "m"], ["g"], domain="custom", ops=5, reason=VALUE, expression="x"),
    ]
    return graph_model(nodes, {"x": [1, 3, 8, 8]}, WEIGHTS, ["y", "g"], opset=21)


def constant() -> ModelProto:
    """A weight by a Constant whose tensor is a number, and one of a type that is none."""
    nodes = [
        NODE("Conv", ["x", f"{BESIDE}.weight"], ["c"]),
        helper.make_node("Constant", [], ["w"], value=1.0),
        NODE("Add", ["c", "w"], ["y"]),
        NODE("Cast", ["m"], ["n"], to=2**40),
        NODE("MatMul", ["c", "n"], ["z"]),
    ]
    return graph_model(nodes, {"x": [1, 3, 8, 8]}, WEIGHTS, ["y", "z"], opset=21)


def in_a_row(folder: Path) -> Path:
    """Old operators with limits and axes that are none."""
    nodes = [
        NODE("Conv", ["x", f"{BESIDE}.weight"], ["c"]),
        NODE("Clip", ["c"], ["a"], min="0", max=1.0),
        NODE("Upsample", ["a"], ["b"], scales="2"),
        NODE("Pad", ["b"], ["d"], pads=["a"]),
        NODE("Softmax", ["d"], ["y"], axis=2**62),
    ]
    return saved(graph_model(nodes, {"x": [1, 3, 8, 8]}, WEIGHTS, opset=8), folder)


def made(folder: Path, *, make: Any) -> Path:
    return saved(make(), folder)


FILES = (
    SmallFile(
        name="50 attributes of wrong types", make=partial(made, make=each_of_its_own), codes=(3,), says=BESIDE
    ),
    SmallFile(
        name="attribute of no type", make=partial(made, make=without_type), codes=(0,), says="of no type"
    ),
    SmallFile(
        name="attribute of a function", make=partial(made, make=of_a_function), codes=(0,), says="function"
    ),
    SmallFile(
        name="attributes of foreign operators", make=partial(made, make=foreign), codes=(3,), says="'K'"
    ),
    SmallFile(name="constant of a wrong type", make=partial(made, make=constant), codes=(3,), says=BESIDE),
    SmallFile(name="old attributes of wrong types", make=in_a_row, codes=(0,), says="wrong type"),
)
