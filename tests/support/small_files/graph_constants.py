"""ONNX graphs with constant expressions that are far larger, or take far longer, than what is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.support.onnx_models import graph_model, normal
from tests.support.small_files.small_file import SmallFile

Nodes = Sequence[NodeProto]
Weights = Mapping[str, np.ndarray]
BESIDE = "conv"
"""The layer that is audited, whatever else the file holds."""
NODE = helper.make_node
ONE = np.ones(1, np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def saved(model: ModelProto, folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def small(name: str, make: Callable[[], ModelProto]) -> SmallFile:
    """A file of a model that is audited, whole or in part."""
    says = "MatMul" if "product" in name else "Conv"
    return SmallFile(name=name, make=lambda folder: saved(make(), folder), codes=(0, 3), says=says)


def beside_a_layer(
    nodes: Nodes, weights: Weights, results: Sequence[str] = ("y",), opset: int = 21
) -> ModelProto:
    """Some nodes, which may take the input v [1, 4], and a convolution of another input."""
    conv = NODE("Conv", ["x", f"{BESIDE}.weight"], ["z"])
    return graph_model(
        [conv, *nodes],
        {"x": [1, 3, 8, 8], "v": [1, 4]},
        {**weights, f"{BESIDE}.weight": normal(4, 3, 3, 3)},
        outputs=("z", *results),
        opset=opset,
    )


def as_weight(nodes: Nodes, weights: Weights, opset: int = 21) -> ModelProto:
    """The constant w, which the nodes make, as the weight of a product and as an addend."""
    users = [NODE("MatMul", ["v", "w"], ["p"]), NODE("Add", ["v", "w"], ["y"])]
    return beside_a_layer([*nodes, *users], weights, ("p", "y"), opset)


def blocks() -> ModelProto:
    """Scales that are each repeated 2^27 times, of which four entries are taken."""
    weights = {"q": np.zeros((4, 4), np.int8), "s": np.ones((1, 4), np.float32)}
    return as_weight([NODE("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=2**27)], weights)


def expanded() -> ModelProto:
    return as_weight([NODE("Expand", ["one", "to"], ["w"])], {"one": ONE, "to": integers(4, 2**36)})


def clipped() -> ModelProto:
    """Limits that are broadcast: 40,000 by 40,000."""
    weights = {"a": np.ones((40_000, 1), np.float32), "low": np.zeros((1, 40_000), np.float32)}
    return as_weight([NODE("Clip", ["a", "low"], ["w"])], weights)


def tiled() -> ModelProto:
    return as_weight([NODE("Tile", ["one", "to"], ["w"])], {"one": ONE, "to": integers(2**36)})


def tiled_to_overflow() -> ModelProto:
    """A number of copies that 64 bits do not hold."""
    weights = {"one": np.ones((1, 1, 1), np.float32), "to": integers(2**62, 2**62, 2**62)}
    return as_weight([NODE("Tile", ["one", "to"], ["w"])], weights)


def split() -> ModelProto:
    """Into 10^8 parts, of which one is used."""
    node = NODE("Split", ["a"], ["w"], num_outputs=10**8)
    return as_weight([node], {"a": normal(4, 4)})


def split_to_many() -> ModelProto:
    """Into 80,000 parts, each of which is a layer's."""
    names = [f"w{i}" for i in range(60_000)]
    used = [NODE("Split", ["a"], names, num_outputs=len(names)), NODE("Sum", ["v", *names[:1]], ["y"])]
    return beside_a_layer(used, {"a": normal(60_000)})


def gathered_parts() -> ModelProto:
    """2^30 copies of four entries, by tuples of no index."""
    weights = {"a": normal(4), "i": np.zeros((2**30, 0), np.int64)}
    return as_weight([NODE("GatherND", ["a", "i"], ["w"])], weights)


def gathered() -> ModelProto:
    weights = {"a": normal(1, 8192), "i": np.zeros(100_000, np.int64)}
    return as_weight([NODE("Gather", ["a", "i"], ["w"])], weights)


def joined() -> ModelProto:
    return as_weight([NODE("Concat", ["a"] * 280_000, ["w"], axis=0)], {"a": normal(1, 4)})


def labelled() -> ModelProto:
    """An equation of 250,000 labels, each of its own."""
    letters = "".join(chr(0x20000 + i) for i in range(40_000)) * 6
    return beside_a_layer([NODE("Einsum", ["v", "a"], ["y"], equation=f"{letters},b")], {"a": normal(4)})


def different_labels() -> ModelProto:
    letters = "".join(chr(0x20000 + i) for i in range(120_000))
    return beside_a_layer([NODE("Einsum", ["v", "a"], ["y"], equation=f"{letters},b")], {"a": normal(4)})


def texts() -> ModelProto:
    """Numbers as strings, which take fifty bytes each."""
    nodes = [
        NODE("ConstantOfShape", ["to"], ["a"]),
        NODE("Cast", ["a"], ["t"], to=TensorProto.STRING),
        NODE("Cast", ["t"], ["w"], to=TensorProto.FLOAT),
    ]
    return as_weight(nodes, {"to": integers(2_000_000, 4)})


def filled() -> ModelProto:
    """120 constants of as many entries as are free, each the weight of a layer."""
    nodes = [NODE("ConstantOfShape", ["to"], [f"w{i}"]) for i in range(120)]
    sums = [NODE("MatMul", ["v", f"w{i}"], [f"y{i}"]) for i in range(120)]
    return beside_a_layer([*nodes, *sums], {"to": integers(4, 2**21)}, [f"y{i}" for i in range(120)])


def filled_for_many() -> ModelProto:
    """One constant of as many entries as are free, which 3,000 nodes add."""
    nodes = [NODE("ConstantOfShape", ["to"], ["w"])]
    sums = [NODE("Mul", [f"y{i - 1}" if i else "v", "w"], [f"y{i}"]) for i in range(3000)]
    return beside_a_layer([*nodes, *sums], {"to": integers(2**21, 4)}, ["y2999"])


def ranged() -> ModelProto:
    weights = {"a": np.float64(0), "b": np.float64(1), "c": np.float64(1e-12)}
    return as_weight([NODE("Range", ["a", "b", "c"], ["w"])], weights)


def multiplied() -> ModelProto:
    """Products of 200 matrices of 630 rows, each of which is cheap."""
    nodes = [NODE("ConstantOfShape", ["to"], ["m0"])]
    nodes += [NODE("MatMul", ["m0", f"m{i}"], [f"m{i + 1}"]) for i in range(200)]
    return as_weight([*nodes, NODE("Identity", ["m200"], ["w"])], {"to": integers(630, 630)})


def in_a_chain() -> ModelProto:
    """A chain of 990 casts that 400 layers use."""
    nodes = [NODE("Cast", [f"c{i - 1}" if i else "a"], [f"c{i}"], to=1) for i in range(990)]
    nodes += [NODE("MatMul", ["v", "c989"], [f"y{i}"]) for i in range(400)]
    return beside_a_layer(nodes, {"a": normal(4, 4)}, [f"y{i}" for i in range(400)])


def chains_for_all() -> ModelProto:
    """A chain of 990 casts with a layer behind each."""
    nodes = [NODE("Cast", [f"c{i - 1}" if i else "a"], [f"c{i}"], to=1) for i in range(990)]
    nodes += [NODE("MatMul", ["v", f"c{i}"], [f"y{i}"]) for i in range(990)]
    return beside_a_layer(nodes, {"a": normal(4, 4)}, [f"y{i}" for i in range(990)])


def long_lists() -> ModelProto:
    """Attributes of many numbers."""
    nodes = [
        NODE("Constant", [], ["a"], value_floats=np.ones(150_000).tolist()),
        NODE("Transpose", ["b"], ["w"], perm=list(range(4)) * 10_000),
    ]
    return as_weight(nodes, {"b": normal(4, 4)})


def sparse() -> ModelProto:
    """A sparse tensor that is as large as any may be, which 300 nodes add."""
    value = helper.make_sparse_tensor(
        numpy_helper.from_array(ONE, "w"), numpy_helper.from_array(integers(0)), [2**21, 4]
    )
    nodes = [NODE("Add", [f"y{i - 1}" if i else "v", "w"], [f"y{i}"]) for i in range(300)]
    model = beside_a_layer(nodes, {}, ["y299"])
    model.graph.sparse_initializer.append(value)
    return model


def powers() -> ModelProto:
    """Steps that each are free, a thousand of them."""
    nodes = [NODE("ConstantOfShape", ["to"], ["m0"])]
    nodes += [NODE("Sin", [f"m{i}"], [f"m{i + 1}"]) for i in range(900)]
    return as_weight([*nodes, NODE("Identity", ["m900"], ["w"])], {"to": integers(9000, 1)})


def accumulated() -> ModelProto:
    """Sums along many axes, and triangles, of what is free."""
    nodes = [NODE("ConstantOfShape", ["to"], ["m0"])]
    for i in range(60):
        op, more = ("CumSum", ["axis"]) if i % 2 else ("Trilu", [])
        nodes.append(NODE(op, [f"m{i}", *more], [f"m{i + 1}"]))
    return as_weight(
        [*nodes, NODE("Identity", ["m60"], ["w"])], {"to": integers(300, 400), "axis": np.int64(0)}
    )


MAKERS: Mapping[str, Callable[[], ModelProto]] = {
    "scales repeated in blocks": blocks,
    "expanded constant": expanded,
    "broadcast limits": clipped,
    "tiled constant": tiled,
    "tiles beyond 64 bits": tiled_to_overflow,
    "constant split into 10^8": split,
    "constant split into 60,000": split_to_many,
    "tuples of no index": gathered_parts,
    "rows gathered again and again": gathered,
    "280,000 constants joined": joined,
    "250,000 labels": labelled,
    "120,000 different labels": different_labels,
    "numbers as strings": texts,
    "120 filled constants": filled,
    "one filled constant for 3,000 nodes": filled_for_many,
    "range of small steps": ranged,
    "powers of a matrix": multiplied,
    "chain of 990 casts for 400 layers": in_a_chain,
    "chain with 990 layers": chains_for_all,
    "attributes of many numbers": long_lists,
    "sparse constant for 300 nodes": sparse,
    "chain of 900 sines of a constant": powers,
    "running sums of a constant": accumulated,
}
FILES = tuple(small(name, make) for name, make in MAKERS.items())
