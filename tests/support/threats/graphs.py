"""ONNX graphs that unfold, nest, claim and compute without bounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from tests.support.onnx_models import graph_model, normal
from tests.support.threats.threat import AUDITED, BROKEN, INCOMPLETE, UNSAFE, Threat

WEIGHTS = {"conv.weight": normal(4, 3, 3, 3)}
IMAGE = {"x": [1, 3, 8, 8]}
IMPORTS = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
GROWN = "much larger than what is stored"


def conv() -> ModelProto:
    return graph_model([helper.make_node("Conv", ["x", "conv.weight"], ["y"])], IMAGE, WEIGHTS)


def saved(folder: Path, *, make: Callable[[], ModelProto]) -> Path:
    (folder / "model.onnx").write_bytes(make().SerializeToString())
    return folder / "model.onnx"


def function_laughs() -> ModelProto:
    """Local functions each of which calls the one below it twice."""
    relu = helper.make_node("Relu", ["a"], ["b"])
    functions = [helper.make_function("local", "f0", ["a"], ["b"], [relu], IMPORTS)]
    for level in range(1, 50):
        twice = [
            helper.make_node(f"f{level - 1}", [start], [end], domain="local")
            for start, end in (("a", "m"), ("m", "b"))
        ]
        functions.append(helper.make_function("local", f"f{level}", ["a"], ["b"], twice, IMPORTS))
    node = helper.make_node("f49", ["x"], ["y"], domain="local")
    return graph_model([node], {"x": [1]}, {}, functions=functions)


def function_circle() -> ModelProto:
    functions = [
        helper.make_function(
            "local", name, ["x"], ["y"], [helper.make_node(other, ["x"], ["y"], domain="local")], IMPORTS
        )
        for name, other in (("f", "g"), ("g", "f"))
    ]
    node = helper.make_node("f", ["x"], ["y"], domain="local")
    return graph_model([node], {"x": [1]}, {}, functions=functions)


def function_tower() -> ModelProto:
    """Local functions that call each other, as deep as a model can name them."""
    functions = [
        helper.make_function(
            "local", f"f{level}", ["x"], ["y"],
            [helper.make_node(f"f{level + 1}", ["x"], ["y"], domain="local")], IMPORTS,
        )
        for level in range(5000)
    ]  # fmt: skip
    relu = helper.make_node("Relu", ["x"], ["y"])
    functions.append(helper.make_function("local", "f5000", ["x"], ["y"], [relu], IMPORTS))
    node = helper.make_node("f0", ["x"], ["y"], domain="local")
    return graph_model([node], {"x": [1]}, {}, functions=functions)


def function_copies() -> ModelProto:
    """A thousand calls of a function that holds a megabyte."""
    value = numpy_helper.from_array(np.zeros(1 << 18, np.float32))
    body = [helper.make_node("Constant", [], ["c"], value=value), helper.make_node("Add", ["x", "c"], ["y"])]
    function = helper.make_function("local", "f", ["x"], ["y"], body, IMPORTS)
    nodes = [helper.make_node("f", [f"x{i}"], [f"x{i + 1}"], domain="local") for i in range(1000)]
    return graph_model(nodes, {"x0": [1]}, {}, outputs=["x1000"], functions=[function])


def nested(levels: int) -> bytes:
    """Graphs in attributes of nodes in graphs, by their bytes: no library writes so many."""
    data = b""
    for _ in range(levels):
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            data = tag + varint(len(data)) + data
    return b"\x08\x0a\x3a" + varint(len(data)) + data


def varint(number: int) -> bytes:
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def _nested(folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(nested(5000))
    return folder / "model.onnx"


def _many(folder: Path) -> Path:
    """Ten million nodes, two bytes each."""
    nodes = b"\x0a\x00" * 10_000_000
    (folder / "model.onnx").write_bytes(b"\x08\x0a\x3a" + varint(len(nodes)) + nodes)
    return folder / "model.onnx"


def branch(depth: int, name: str) -> GraphProto:
    """Bodies of If in bodies of If, with nodes of long names, and many tensors in the innermost one."""
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    if depth:
        inner = helper.make_node(
            "If", ["c"], ["o"], name=name, then_branch=branch(depth - 1, name), else_branch=branch(0, "")
        )
        return helper.make_graph([inner], "b", [], [output])
    nodes = [helper.make_node("Neg", ["x"], [f"t{i}"]) for i in range(2000 if name else 0)]
    return helper.make_graph([*nodes, helper.make_node("Identity", ["x"], ["o"])], "b", [], [output])


def long_paths() -> ModelProto:
    node = helper.make_node(
        "If", ["c"], ["y"], name="n" * 1900, then_branch=branch(22, "n" * 1900), else_branch=branch(0, "")
    )
    return graph_model([node], IMAGE, {"c": np.array(True)})


def long_name() -> ModelProto:
    """A name whose every beginning could be a path."""
    name = "/" * 30_000
    return graph_model([helper.make_node("Conv", ["x", name], ["y"])], IMAGE, {name: normal(4, 3, 3, 3)})


def many_axes() -> ModelProto:
    model = conv()
    model.graph.initializer[0].dims[:] = [1] * 100_000 + [4, 3, 3, 3]
    return model


def huge() -> ModelProto:
    model = conv()
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40, 3, 3]
    return model


def negative() -> ModelProto:
    model = conv()
    model.graph.initializer[0].dims[0] = -4
    return model


def without_data() -> ModelProto:
    model = conv()
    model.graph.initializer[0].ClearField("raw_data")
    return model


def twice() -> ModelProto:
    model = conv()
    model.graph.initializer.append(numpy_helper.from_array(0 * WEIGHTS["conv.weight"], "conv.weight"))
    return model


def filled() -> ModelProto:
    """A matrix of 2^40 equal numbers."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    return graph_model(nodes, {"x": [1, 1 << 20]}, {"s": np.array([1 << 20, 1 << 20])})


def product() -> ModelProto:
    """A matrix of 2^30 numbers by broadcasting two vectors."""
    nodes = [helper.make_node("Mul", ["a", "b"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    vectors = {"a": normal(1 << 15, 1), "b": normal(1, 1 << 15)}
    return graph_model(nodes, {"x": [1, 1 << 15]}, vectors)


def repeated() -> ModelProto:
    """A hundred steps over a large constant, then a matrix."""
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["w0"])]
    nodes += [helper.make_node("Neg", [f"w{i}"], [f"w{i + 1}"]) for i in range(100)]
    nodes.append(helper.make_node("MatMul", ["x", "w100"], ["y"]))
    return graph_model(nodes, {"x": [1, 2048]}, {"s": np.array([2048, 2048])})


def joined() -> ModelProto:
    """One tensor ten thousand times."""
    nodes = [
        helper.make_node("Concat", ["t"] * 10_000, ["w"], axis=0),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    return graph_model(nodes, {"x": [1, 10_000 * 100]}, {"t": normal(100, 100)})


def sparse() -> ModelProto:
    """A matrix of 2^40 zeros."""
    model = graph_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 1 << 20]}, {})
    values, indices = numpy_helper.from_array(np.zeros(0, np.float32), "w"), np.zeros(0, np.int64)
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(indices), [1 << 20, 1 << 20])
    )
    return model


def pattern() -> ModelProto:
    """An operator type that is a pattern of exponential cost, if it is taken for one."""
    node = helper.make_node("(a+)+b", ["x", "1"], ["y"], name="/n/" + "a" * 60, domain="custom")
    return graph_model([node], {"x": [1, 4]}, {"1": normal(4, 4)})


def wide_input() -> ModelProto:
    """An input of more elements than a float can count."""
    nodes = [helper.make_node("Relu", ["x"], ["z"]), helper.make_node("Conv", ["i", "conv.weight"], ["y"])]
    inputs = {"x": [1 << 62] * 60, "i": [1, 3, 1 << 62, 1 << 62]}
    return graph_model(nodes, inputs, WEIGHTS, outputs=["z", "y"])


MODELS = (
    ("nested functions that double", function_laughs, UNSAFE, "unfold to more than"),
    ("functions that call each other", function_circle, UNSAFE, "calls itself"),
    ("a tower of functions", function_tower, UNSAFE, "nested"),
    ("a function of a megabyte, a thousand times", function_copies, UNSAFE, "unfold to more than"),
    ("long names in nested bodies", long_paths, UNSAFE, "endless names"),
    ("a name of slashes", long_name, UNSAFE, "a name of more than"),
    ("a hundred thousand axes", many_axes, UNSAFE, "axes"),
    ("huge dimensions", huge, BROKEN, "wrong length"),
    ("a negative dimension", negative, BROKEN, "negative size"),
    ("an initializer without data", without_data, BROKEN, "has no data"),
    ("an initializer that is there twice", twice, BROKEN, "defined twice"),
    ("a matrix of one number", filled, INCOMPLETE, GROWN),
    ("a matrix of two vectors", product, INCOMPLETE, GROWN),
    ("a hundred steps over a constant", repeated, INCOMPLETE, GROWN),
    ("one tensor ten thousand times", joined, INCOMPLETE, GROWN),
    ("a sparse matrix of zeros", sparse, INCOMPLETE, GROWN),
    ("an operator that is a pattern", pattern, INCOMPLETE, "custom"),
    ("an endless input", wide_input, AUDITED, "Conv"),
)
THREATS = (
    *(
        Threat(name=name, make=partial(saved, make=make), code=code, says=says)
        for name, make, code, says in MODELS
    ),
    Threat(name="nested messages", make=_nested, code=UNSAFE, says="nested more than"),
    Threat(name="ten million nodes", make=_many, code=UNSAFE, says="nodes"),
)
