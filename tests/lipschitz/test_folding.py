"""Folding is exact: both graphs agree in onnxruntime, and what may not be merged is not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from convsv_cli import load
from convsv_cli.lipschitz.composition import compose
from convsv_cli.lipschitz.fold import Folding, folded
from convsv_cli.lipschitz.fold.weight import Weight, composed, fixed
from convsv_cli.lipschitz.norms import Norms, kernel_norm
from convsv_cli.lipschitz.operation import Rule
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.model.graph import Graph
from convsv_cli.model.linear_maps import linear_maps
from tests.support.graph_files import model_of, run
from tests.support.onnx_models import graph_model, rng, saved

SAMPLE = Path(__file__).parents[2] / "sample_models" / "resnet20.onnx"
CLOSE = 1e-5
TIGHT = 1e-4
UNCHANGED = {
    op: Rule(lipschitz=lambda operation: operation.input(0).lipschitz) for op in ("Identity", "Relu")
}
PADDED = {"pads": [1, 1, 1, 1]}


class Builder:
    """A chain of nodes from "x" on, with constants of random values."""

    def __init__(self, seed: int, channels: int = 3, opset: int = 17) -> None:
        self.rng, self.opset = rng(seed), opset
        self.channels, self.top = channels, "x"
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def const(self, values: np.ndarray) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = np.asarray(values, np.float32)
        return name

    def normal(self, *shape: int) -> str:
        return self.const(self.rng.standard_normal(shape) / math.sqrt(max(1, math.prod(shape[1:]))))

    def positive(self, *shape: int) -> str:
        return self.const(self.rng.uniform(0.5, 2, shape))

    def add(self, op: str, *operands: str, **attributes: object) -> Builder:
        output = f"t{len(self.nodes)}"
        inputs = [self.top if name == "@" else name for name in operands]
        self.nodes.append(helper.make_node(op, inputs, [output], f"n{len(self.nodes)}", **attributes))
        self.top = output
        return self

    def conv(self, c_out: int, k: int, *, bias: bool = True, **attributes: object) -> Builder:
        shape = (c_out, self.channels // attributes.get("group", 1), k, k)
        operands = [self.normal(*shape), *([self.normal(c_out)] if bias else [])]
        self.channels = c_out
        return self.add("Conv", "@", *operands, **attributes)

    def up(self, c_out: int, k: int, *, bias: bool = True, **attributes: object) -> Builder:
        shape = (self.channels, c_out // attributes.get("group", 1), k, k)
        operands = [self.normal(*shape), *([self.normal(c_out)] if bias else [])]
        self.channels = c_out
        return self.add("ConvTranspose", "@", *operands, **attributes)

    def norm(self) -> Builder:
        c = self.channels
        return self.add(
            "BatchNormalization", "@", self.positive(c), self.normal(c), self.normal(c), self.positive(c)
        )

    def graph(self, folder: Path, shape: Sequence[int | str], outputs: Sequence[str] = ()) -> Graph:
        model = graph_model(self.nodes, {"x": shape}, self.weights, outputs or [self.top], opset=self.opset)
        graph = load(saved(model, folder)).graph
        assert graph is not None
        return graph


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.main.nodes]


def keys(graph: Graph) -> list[list[Hashable]]:
    """Of the linear maps that each node is: the same where an audit's row is the node's."""
    return [[found.key for found in linear_maps(node, graph)] for node in graph.main.nodes]


def agree(graph: Graph, shape: Sequence[int]) -> Folding:
    """The folding, which computes the same."""
    folding = folded(graph)
    x = rng(7).standard_normal(shape).astype(np.float32)
    for old, new in zip(run(graph, {"x": x}), run(folding.graph, {"x": x}), strict=True):
        assert old.shape == new.shape
        np.testing.assert_allclose(new, old, rtol=0, atol=CLOSE * max(1.0, float(np.abs(old).max())))
    return folding


def bound(graph: Graph) -> float:
    """The logarithm of the graph's bound, with the norms of all weights as they are."""
    norms = Norms(rows={}, of_row=lambda _: math.nan, of_kernel=partial(kernel_norm, tolerance=TIGHT))
    found = compose(graph, {**RULES, **UNCHANGED}, norms)
    assert not found.offences
    return sum(math.log(segment.factor) for segment in found.segments)


IMAGE = (2, 3, 9, 8)
GEOMETRIES = [
    {},
    PADDED,
    {"pads": [1, 0, 2, 1], "strides": [2, 1]},
    {"dilations": [2, 1], "pads": [2, 1, 0, 0]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID"},
    {"group": 3, **PADDED},
    {"group": 3, "strides": [2, 2]},
]
SCALES = ["norm", "mul", "rmul", "div", "add", "sub", "rsub", "scalar"]


def scale(builder: Builder, kind: str) -> Builder:
    c, axis = builder.channels, builder.rng.integers(2)
    shape = (c, 1, 1) if axis else (1, c, 1, 1)
    if kind == "norm":
        return builder.norm()
    if kind == "scalar":
        return builder.add("Mul", "@", builder.positive(*((), (1,), (1, 1, 1))[builder.rng.integers(3)]))
    name = {"r": kind[1:], "": kind}["r" if kind in ("rmul", "rsub") else ""].title()
    constant = builder.positive(*shape)
    return builder.add(name, *((constant, "@") if kind[0] == "r" else ("@", constant)))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("op", ["conv", "up"])
def test_scalings_after_a_convolution_become_its_own(op: str, geometry: dict, tmp_path: Path) -> None:
    for kind in SCALES:
        builder = Builder(1)
        builder.conv(6, 3, **geometry) if op == "conv" else builder.up(6, 3, **geometry)
        graph = scale(scale(builder, kind), "norm").graph(tmp_path, IMAGE)
        assert len(ops(agree(graph, IMAGE).graph)) == 1, kind


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("op", ["conv", "up"])
def test_scalings_before_a_convolution_become_its_own(op: str, geometry: dict, tmp_path: Path) -> None:
    unpadded = op == "conv" and set(geometry) <= {"strides", "group", "auto_pad"}
    unpadded = unpadded and not geometry.get("auto_pad", "").startswith("SAME")
    for kind in SCALES:
        builder = scale(Builder(1), kind)
        builder.conv(6, 3, **geometry) if op == "conv" else builder.up(6, 3, **geometry)
        folding = agree(builder.graph(tmp_path, IMAGE), IMAGE)
        left = ["Add"] if not unpadded and kind in ("norm", "add", "rsub") else []
        left = ["Sub"] if not unpadded and kind == "sub" else left
        assert ops(folding.graph) == [*left, builder.nodes[-1].op_type], kind


def test_what_does_not_scale_channels_stays(tmp_path: Path) -> None:
    constants = [(1, 1, 1, 8), (9, 1), (8,), (2, 1, 1, 1), (1, 1, 1, 1, 1), (3, 9, 1)]
    for shape in constants:
        after = Builder(1).conv(3, 3, **PADDED)
        after.add("Mul", "@", after.positive(*shape))
        assert ops(agree(after.graph(tmp_path, IMAGE), IMAGE).graph) == ["Conv", "Mul"], shape
        if len(shape) < 5:
            before = Builder(1)
            before.add("Mul", "@", before.positive(*shape)).conv(3, 3, **PADDED)
            assert ops(agree(before.graph(tmp_path, IMAGE), IMAGE).graph) == ["Mul", "Conv"], shape


def test_a_constant_that_repeats_the_channels_stays(tmp_path: Path) -> None:
    for op in ("Mul", "Add"):
        before = Builder(1)
        before.add(op, "@", before.positive(3, 1, 1)).conv(4, 3)
        assert ops(agree(before.graph(tmp_path, (2, 1, 9, 8)), (2, 1, 9, 8)).graph) == [op, "Conv"]
        after = Builder(1).conv(1, 3)
        after.add(op, "@", after.positive(3, 1, 1))
        assert ops(agree(after.graph(tmp_path, IMAGE), IMAGE).graph) == ["Conv", op]


def test_a_constant_that_repeats_the_only_column_stays(tmp_path: Path) -> None:
    builder = Builder(1)
    builder.add("Mul", "@", builder.positive(3)).add("MatMul", "@", builder.normal(3, 4))
    assert ops(agree(builder.graph(tmp_path, (2, 1)), (2, 1)).graph) == ["Mul", "MatMul"]


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_a_bias_that_is_not_computed_is_no_obstacle(op: str, tmp_path: Path) -> None:
    builder = Builder(3).add("Erf", "bias").add(op, "x", "kernel", "@").norm()
    builder.weights |= {"bias": np.ones(3, np.float32), "kernel": np.ones((3, 3, 2, 2), np.float32)}
    assert ops(folded(builder.graph(tmp_path, IMAGE)).graph) == [op]


def test_biases_of_different_numbers_of_rows_stay(tmp_path: Path) -> None:
    """No runtime takes them; it is for no crash."""
    builder = Builder(3).add("Gemm", "x", "matrix", "two").add("Gemm", "@", "matrix", "three")
    builder.weights |= {"two": np.ones((2, 4), np.float32), "three": np.ones((3, 4), np.float32)}
    builder.weights["matrix"] = np.ones((4, 4), np.float32)
    assert ops(folded(builder.graph(tmp_path, ("n", 4))).graph) == ["Gemm", "Gemm"]


@pytest.mark.parametrize("shape", [(7,), (1, 3), (0,)], ids=str)
def test_a_bias_that_does_not_fit_stays(shape: tuple[int, ...], tmp_path: Path) -> None:
    """No runtime takes such a network; it is for no crash."""
    builder = Builder(3).add("Conv", "x", "kernel", "bias").norm()
    builder.weights |= {"bias": np.ones(shape, np.float32), "kernel": np.ones((3, 3, 2, 2), np.float32)}
    assert ops(folded(builder.graph(tmp_path, IMAGE)).graph) == ["Conv", "BatchNormalization"]


@pytest.mark.parametrize("op", ["conv", "up"])
def test_each_group_has_its_own_scales(op: str, tmp_path: Path) -> None:
    for kind in SCALES:
        builder = scale(Builder(1, channels=6), kind)
        getattr(builder, op)(9, 3, group=3)
        folding = agree(scale(builder, "norm").graph(tmp_path, (2, 6, 7, 8)), (2, 6, 7, 8))
        assert ops(folding.graph)[-1] == ("Conv" if op == "conv" else "ConvTranspose")


def test_division_by_activations_and_zero_stays(tmp_path: Path) -> None:
    builder = Builder(1).conv(3, 3)
    builder.add("Div", builder.positive(3, 1, 1), "@")
    assert ops(folded(builder.graph(tmp_path, IMAGE)).graph) == ["Conv", "Div"]
    builder = Builder(1).conv(3, 3)
    builder.add("Div", "@", builder.const(np.array(0.0)))
    assert ops(folded(builder.graph(tmp_path, IMAGE)).graph) == ["Conv", "Div"]


def test_a_channel_that_is_scaled_away_keeps_its_shift(tmp_path: Path) -> None:
    builder = Builder(1)
    gamma = builder.const(np.array([1.0, 0.0, 2.0]))
    rest = builder.normal(3), builder.normal(3), builder.positive(3)
    builder.add("BatchNormalization", "@", gamma, *rest).conv(4, 3, **PADDED)
    assert ops(agree(builder.graph(tmp_path, IMAGE), IMAGE).graph) == ["BatchNormalization", "Conv"]
    unpadded = Builder(1)
    gamma = unpadded.const(np.array([1.0, 0.0, 2.0]))
    rest = unpadded.normal(3), unpadded.normal(3), unpadded.positive(3)
    unpadded.add("BatchNormalization", "@", gamma, *rest).conv(4, 3)
    assert ops(agree(unpadded.graph(tmp_path, IMAGE), IMAGE).graph) == ["Conv"]


def test_input_normalisation_goes_into_the_first_kernel(tmp_path: Path) -> None:
    builder = Builder(1)
    builder.add("Sub", "@", builder.normal(3, 1, 1)).add("Div", "@", builder.positive(3, 1, 1))
    graph = builder.conv(4, 3, **PADDED).graph(tmp_path, IMAGE)
    folding = agree(graph, IMAGE)
    assert ops(folding.graph) == ["Add", "Conv"]
    assert folding.notes == ("1 scaling folded",)
    assert folding.graph.main.nodes[1].name == "n2"
    assert keys(folding.graph)[1:] != keys(graph)[2:]


def test_a_shift_changes_no_weight_and_keeps_the_row(tmp_path: Path) -> None:
    builder = Builder(1).conv(4, 3, **PADDED)
    graph = builder.add("Add", "@", builder.normal(4, 1, 1)).graph(tmp_path, IMAGE)
    folding = agree(graph, IMAGE)
    assert len(folding.graph.main.nodes) == 1
    assert keys(folding.graph)[0] == keys(graph)[0] != []


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if "group" not in g])
def test_pointwise_convolutions_join_their_neighbours(geometry: dict, bias: bool, tmp_path: Path) -> None:
    after = Builder(2).conv(5, 3, bias=bias, **geometry).conv(4, 1, dilations=[3, 2])
    assert ops(agree(after.graph(tmp_path, IMAGE), IMAGE).graph) == ["Conv"]
    before = Builder(2).conv(5, 1, bias=bias, auto_pad="SAME_UPPER").conv(4, 3, **geometry)
    same = geometry.get("auto_pad", "").startswith("SAME")
    image = ["Add"] if bias and (same or "pads" in geometry) else []
    assert ops(agree(before.graph(tmp_path, IMAGE), IMAGE).graph) == ["Conv", *image]


@pytest.mark.parametrize("bias", [True, False])
def test_pointwise_convolutions_join_transposed_ones(bias: bool, tmp_path: Path) -> None:
    geometry = {"strides": [2, 1], "pads": [1, 0, 1, 2], "output_padding": [1, 0], "dilations": [1, 2]}
    after = Builder(3).up(5, 3, bias=bias, **geometry).conv(4, 1)
    assert ops(agree(after.graph(tmp_path, IMAGE), IMAGE).graph) == ["ConvTranspose"]
    before = Builder(3).conv(5, 1, bias=bias).up(4, 3, **geometry)
    left = ["Conv", "ConvTranspose"] if bias else ["ConvTranspose"]
    assert ops(agree(before.graph(tmp_path, IMAGE), IMAGE).graph) == left


def test_a_bias_before_padding_stays_where_the_size_is_unknown(tmp_path: Path) -> None:
    graph = Builder(3).conv(5, 1).conv(4, 3, **PADDED).graph(tmp_path, (1, 3, "h", "w"))
    assert ops(agree(graph, (1, 3, 9, 8)).graph) == ["Conv", "Conv"]


UNMERGED = {
    "two padded ones": Builder(4).conv(3, 3, **PADDED).conv(3, 3, **PADDED),
    "two unpadded ones": Builder(4).conv(3, 3).conv(3, 3),
    "strided 1x1 before": Builder(4).conv(3, 1, strides=[2, 2]).conv(3, 3),
    "strided 1x1 after": Builder(4).conv(3, 3).conv(3, 1, strides=[2, 2]),
    "padded 1x1 before": Builder(4).conv(3, 1, **PADDED).conv(3, 3),
    "padded 1x1 after": Builder(4).conv(3, 3).conv(3, 1, **PADDED),
    "grouped ones": Builder(4).conv(3, 3, group=3).conv(3, 1),
    "bottleneck": Builder(4).conv(800, 3).conv(1, 1).conv(800, 3),
}


@pytest.mark.parametrize("name", UNMERGED)
def test_other_convolutions_stay_apart(name: str, tmp_path: Path) -> None:
    graph = UNMERGED[name].graph(tmp_path, IMAGE)
    folding = folded(graph)
    expected = 2
    assert ops(folding.graph).count("Conv") == expected


def test_bias_of_matrices(tmp_path: Path) -> None:
    shapes = [(), (1,), (4,), (1, 4), (5, 4), (5, 1)]
    for shape in shapes:
        for turned in (0, 1):
            builder = Builder(5)
            weight = builder.normal(*((4, 3) if turned else (3, 4)))
            builder.add("Gemm", "@", weight, builder.normal(*shape), alpha=0.5, beta=-2.0, transB=turned)
            builder.add("Mul", "@", builder.positive(4)).add("Sub", builder.normal(1, 4), "@")
            builder.add("MatMul", "@", builder.normal(4, 3)).add("Add", "@", builder.normal(3))
            builder.add("Gemm", "@", builder.normal(3, 2), alpha=3.0)
            graph = builder.graph(tmp_path, (5, 3))
            assert ops(agree(graph, (5, 3)).graph) == ["Gemm"], shape


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5, 3)])
def test_chains_of_products(shape: tuple[int, ...], tmp_path: Path) -> None:
    builder = Builder(6)
    builder.add("Mul", "@", builder.positive(3)).add("Add", "@", builder.normal(3))
    builder.add("MatMul", "@", builder.normal(3, 4)).add("Add", builder.normal(4), "@")
    builder.add("Mul", "@", builder.positive(4)).add("Add", "@", builder.normal(1))
    builder.add("MatMul", "@", builder.normal(4, 5)).add("Add", "@", builder.normal(5))
    builder.add("Div", "@", builder.positive())
    folding = agree(builder.graph(tmp_path, shape), shape)
    assert ops(folding.graph) == ["MatMul", "Add"]
    assert folding.notes == ("3 scalings folded", "1 matrix merged")


def test_other_products_stay(tmp_path: Path) -> None:
    builder = Builder(6)
    builder.add("MatMul", builder.normal(4, 5), "@").add("Mul", "@", builder.positive(3))
    assert ops(agree(builder.graph(tmp_path, (5, 3)), (5, 3)).graph) == ["MatMul", "Mul"]
    builder = Builder(6).add("MatMul", "@", "c0")
    builder.normal(2, 3, 4)
    builder.add("Mul", "@", builder.positive(4))
    assert ops(agree(builder.graph(tmp_path, (5, 3)), (5, 3)).graph) == ["MatMul", "Mul"]
    builder = Builder(6).add("Gemm", "@", "c0", transA=1)
    builder.normal(5, 4)
    builder.add("Mul", "@", builder.positive(4))
    assert ops(agree(builder.graph(tmp_path, (5, 3)), (5, 3)).graph) == ["Gemm", "Mul"]


def test_batch_norm_after_a_batch_of_products_is_of_another_axis(tmp_path: Path) -> None:
    builder = Builder(6, channels=4).add("MatMul", "@", "c0")
    builder.normal(3, 4)
    assert ops(agree(builder.norm().graph(tmp_path, (2, 4, 3)), (2, 4, 3)).graph) == [
        "MatMul",
        "BatchNormalization",
    ]


def test_tensors_with_another_use_stay(tmp_path: Path) -> None:
    builder = Builder(7).conv(3, 3, **PADDED)
    builder.norm().add("Add", "@", "t0")
    assert ops(agree(builder.graph(tmp_path, IMAGE), IMAGE).graph) == ["Conv", "BatchNormalization", "Add"]
    builder = Builder(7).conv(3, 3, **PADDED).norm()
    graph = builder.graph(tmp_path, IMAGE, ["t0", "t1"])
    folding = agree(graph, IMAGE)
    assert ops(folding.graph) == ["Conv", "BatchNormalization"]
    assert folding.graph.main.outputs == graph.main.outputs


def test_tensors_that_a_body_uses_stay(tmp_path: Path) -> None:
    builder = Builder(7).conv(3, 3, **PADDED).norm().add("Identity", "@").add("Relu", "@")
    unknown = [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)]
    used = [(name, helper.make_node("Relu", [name], ["r"])) for name in ("t0", "t2")]
    bodies = [helper.make_graph([node], name, [], unknown) for name, node in used]
    builder.nodes.insert(0, helper.make_node("ReduceMax", ["x"], ["m"], "max", keepdims=0))
    builder.nodes.append(helper.make_node("Greater", ["m", "zero"], ["if"], "greater"))
    builder.weights["zero"] = np.zeros((), np.float32)
    branches = {"then_branch": bodies[0], "else_branch": bodies[1]}
    builder.nodes.append(helper.make_node("If", ["if"], ["y"], "branch", **branches))
    folding = agree(builder.graph(tmp_path, IMAGE, ["y", "t3"]), IMAGE)
    assert ops(folding.graph)[1:4] == ["Conv", "BatchNormalization", "Identity"]


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 17, 20])
def test_identities_and_dropout_are_taken_out(opset: int, tmp_path: Path) -> None:
    builder = Builder(8, opset=opset).conv(3, 3).add("Identity", "@").add("Dropout", "@")
    graph = builder.norm().add("Identity", "@").conv(4, 1).graph(tmp_path, IMAGE)
    assert ops(agree(graph, IMAGE).graph) == ["Conv"]


def test_dropout_in_training_and_batch_norm_in_training_stay(tmp_path: Path) -> None:
    builder = Builder(8).conv(3, 3)
    builder.weights |= {"ratio": np.array(0.5, np.float32), "mode": np.array(True)}
    builder.add("Dropout", "@", "ratio", "mode").add("Relu", "@")
    assert ops(folded(builder.graph(tmp_path, IMAGE)).graph) == ["Conv", "Dropout", "Relu"]
    for outputs in ((), ("mean", "var")):
        builder = Builder(8).conv(3, 3).norm()
        builder.nodes[-1].attribute.append(helper.make_attribute("training_mode", 1))
        builder.nodes[-1].output.extend(outputs)
        assert ops(folded(builder.graph(tmp_path, IMAGE)).graph) == ["Conv", "BatchNormalization"]


def random_network(seed: int) -> Builder:
    """Convolutions, scalings and skips, in any order."""
    builder = Builder(seed, opset=(9, 13, 20)[seed % 3])
    draw = builder.rng
    for _ in range(draw.integers(3, 9)):
        kind, c, bias = draw.integers(7), int(draw.integers(1, 3)) * 3, bool(draw.integers(2))
        if kind <= 1:
            group = (1, 3)[draw.integers(2)] if builder.channels % 3 == 0 else 1
            pads = [1, 1, 1, 1] if draw.integers(2) else [2, 0, 0, 2]
            builder.conv(c, 3, bias=bias, pads=pads, group=group)
        elif kind == 2:
            builder.conv(c, 1, bias=bias)
        elif kind == 3:
            skip = builder.top
            builder.conv(builder.channels, 1).add(("Relu", "Identity")[draw.integers(2)], "@")
            builder.add("Add", "@", skip)
        elif kind == 4:
            builder.up(c, 3, bias=bias, pads=[1, 1, 1, 1])
        else:
            scale(builder, [each for each in SCALES if each != "norm"][draw.integers(7)])
    return builder


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_compute_the_same(seed: int, tmp_path: Path) -> None:
    graph = random_network(seed).graph(tmp_path, IMAGE)
    folding = agree(graph, IMAGE)
    assert len(ops(folding.graph)) <= len(ops(graph)) + 1


@pytest.mark.parametrize("seed", range(10))
def test_no_bound_becomes_larger(seed: int, tmp_path: Path) -> None:
    graph = random_network(seed).graph(tmp_path, IMAGE)
    assert bound(folded(graph).graph) <= bound(graph) + 4 * TIGHT * len(graph.main.nodes)


def test_the_sample_model() -> None:
    graph = load(SAMPLE).graph
    assert graph is not None
    folding = folded(graph)
    count = Counter(ops(graph))["BatchNormalization"]
    assert folding.notes == (f"{count} BatchNorms folded", "1 scaling folded")
    assert "BatchNormalization" not in ops(folding.graph)
    x = rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)
    ((old,), (new,)) = (run(each, {graph.inputs[0]: x}) for each in (graph, folding.graph))
    np.testing.assert_allclose(new, old, rtol=0, atol=CLOSE * float(np.abs(old).max()))


def test_long_chains_neither_recurse_nor_take_long(tmp_path: Path) -> None:
    builder = Builder(9, channels=2)
    builder.add("MatMul", "@", builder.normal(3, 3))
    for i in range(1000):
        builder.add(*(("Mul", "@", builder.const(np.array(1.001))) if i % 3 else ("MatMul", "@", "c0")))
        builder.add("Add", "@", builder.const(np.zeros(3)))
    folding = folded(builder.graph(tmp_path, (2, 3)))
    assert len(folding.graph.main.nodes) < 100
    for node in folding.graph.main.nodes:
        assert all(np.isfinite(folding.graph.constants[name]().read()).all() for name in node.inputs[1:])


def test_weights_are_read_only_when_they_are_asked_for(tmp_path: Path) -> None:
    builder = Builder(9).conv(6, 3, **PADDED).norm().conv(4, 1).add("Identity", "@")
    graph = builder.graph(tmp_path, IMAGE)
    weights = {node.inputs[1] for node in graph.main.nodes if node.op == "Conv"}

    def refuse() -> np.ndarray:
        raise AssertionError("read while folding")

    guarded = dict(graph.constants)
    for name in weights:
        constant = replace(graph.constants[name](), read=refuse)
        guarded[name] = partial(replace, constant)
    folding = folded(replace(graph, constants=guarded))
    assert ops(folding.graph) == ["Conv", "Identity"]
    with pytest.raises(AssertionError, match="read while folding"):
        folding.graph.constants[folding.graph.main.nodes[0].inputs[1]]().read()


def exact_distance(weight: Weight, left: np.ndarray, right: np.ndarray) -> float:
    """Of a product of matrices from the true one."""
    exact = [
        [sum(Fraction(a) * Fraction(b) for a, b in zip(row, column, strict=True)) for column in right.T]
        for row in left
    ]
    values = weight()[0]
    squares = sum((Fraction(float(values[i, j])) - exact[i][j]) ** 2 for i in range(3) for j in range(4))
    return math.sqrt(squares)


@pytest.mark.parametrize("seed", range(5))
def test_rounding_is_bounded_where_products_cancel(seed: int) -> None:
    left, right = rng(seed).standard_normal((3, 8)), rng(seed + 9).standard_normal((8, 4))
    left[:, 4:], right[4:] = -left[:, :4], right[:4] * (1 + 1e-13)
    product = composed(fixed(left[None]), fixed(right[None]))
    assert product is not None
    assert np.abs(product()).max() < 1e-11, "nearly all of it cancels"
    assert 0 < exact_distance(product, left, right) <= product.error() < 1e-13


def test_rounding_is_bounded_where_a_scaling_shows_it() -> None:
    left, right = rng(3).standard_normal((3, 8)), rng(4).standard_normal((8, 4))
    left[0, 4:], right[4:] = -left[0, :4], right[:4]
    product = composed(fixed(left[None]), fixed(right[None]))
    assert product is not None
    factors = np.array([1e12, 1e-3, 1.0])
    scaled = product.scaled(factors[:, None])
    exact = factors[:, None] * left
    assert exact_distance(scaled, exact, right) <= scaled.error() + 1e-12 * float(np.abs(scaled()).max())
    assert scaled.error() >= 1e11 * product.error()


def test_onnx_models_of_folded_graphs_are_valid(tmp_path: Path) -> None:
    graph = random_network(5).norm().graph(tmp_path, IMAGE)
    onnx.checker.check_model(model_of(folded(graph).graph), full_check=True)
