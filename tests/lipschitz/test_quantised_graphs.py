"""Quantised graphs as onnxruntime writes and runs them: both terms, and what the rewriting computes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType

from convsv_cli import audit, load
from convsv_cli.lipschitz.quantised.operators import OPERATORS
from convsv_cli.lipschitz.quantised.smoothing import Smooth, Smoothing
from convsv_cli.report import UNBOUNDED, Quantised
from tests.support import runtime
from tests.support.onnx_models import graph_model, rng, saved
from tests.support.quantised_graphs import (
    BOX,
    SHAPE,
    Pieces,
    convolutional,
    dynamic,
    near_steps,
    perceptron,
    static,
)

QDQ, OPERATOR = QuantFormat.QDQ, QuantFormat.QOperator
STATIC = {
    "pairs": {"quant_format": QDQ},
    "pairs of channels": {"quant_format": QDQ, "per_channel": True},
    "operators": {"quant_format": OPERATOR},
    "signed operators": {
        "quant_format": OPERATOR,
        "per_channel": True,
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
    },
}
PAIRS, MANY = 150, 2_000
ROUNDING = 1e-4
"""More than single precision takes off the outputs of these networks."""


def quantised(path: Path, box: tuple[float, float] | None = None) -> Quantised:
    bound = audit(path, input_range=box, network_effort="quick").bound
    assert bound.status == UNBOUNDED
    assert bound.quantised is not None
    return bound.quantised


def check_pairs(path: Path, found: Quantised, count: int) -> float:
    """No pair is beyond both terms; the largest share of these that one comes to."""
    model = onnx.load(path)
    session, largest = runtime.session(model, rewritten=False), 0.0
    assert not found.reason
    for one, other in islice(near_steps(model, rng()), count):
        first, second = (session.run(["y"], {"x": each})[0].astype(np.float64) for each in (one, other))
        allowed = found.lipschitz * np.linalg.norm(one.astype(np.float64) - other) + found.added
        moved = np.linalg.norm(first - second)
        assert moved <= allowed + ROUNDING
        largest = max(largest, moved / max(allowed, 1e-9))
    return largest


def cases(usual: list[tuple], others: list[tuple]) -> list:
    """Arguments, with the number of pairs as the last of them."""
    return [
        *((*case, PAIRS) for case in usual),
        *(pytest.param(*case, MANY, marks=pytest.mark.exhaustive) for case in others),
    ]


@pytest.mark.parametrize(
    ("form", "count"), cases([("operators",), ("pairs of channels",)], [("pairs",), ("signed operators",)])
)
def test_convolutions_that_onnxruntime_quantises(form: str, count: int, tmp_path: Path) -> None:
    path = static(convolutional(), tmp_path, **STATIC[form])
    found = quantised(path)
    assert found.quantisers >= 4
    assert check_pairs(path, found, count) > 0.01


@pytest.mark.parametrize(("form", "count"), cases([("pairs",)], [("pairs of channels",)]))
def test_matrices_that_onnxruntime_quantises(form: str, count: int, tmp_path: Path) -> None:
    path = static(perceptron(), tmp_path, **STATIC[form])
    assert check_pairs(path, quantised(path), count) > 0.05


@pytest.mark.parametrize(
    ("network", "per_channel", "count"),
    cases([(perceptron, False), (convolutional, True)], [(perceptron, True), (convolutional, False)]),
)
def test_scales_that_the_input_decides_on(network, per_channel: bool, count: int, tmp_path: Path) -> None:
    path = dynamic(network(), tmp_path, per_channel=per_channel)
    found = quantised(path, BOX)
    assert found.quantisers == 3
    assert check_pairs(path, found, count) > 0.005
    open_ = quantised(path)
    assert np.isinf([open_.lipschitz, open_.added]).all()
    assert "x_QuantizeLinear" in open_.reason or "f_QuantizeLinear" in open_.reason
    assert "--input-range" in open_.reason


def as_model(smooth: Smooth, outputs: list[str]) -> ModelProto:
    """What a graph was rewritten as, for onnxruntime."""
    graph = smooth.graph
    nodes = [
        helper.make_node(each.op, each.inputs, each.outputs, **each.attributes) for each in graph.main.nodes
    ]
    used = {name for each in graph.main.nodes for name in each.inputs if name in graph.constants}
    arrays = {name: np.asarray(graph.constants[name]().read()) for name in used}
    weights = [
        numpy_helper.from_array(a.astype(np.float32) if a.dtype.kind == "f" else a, name)
        for name, a in arrays.items()
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, graph.shapes[n]) for n in graph.inputs]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    made = helper.make_graph(nodes, "g", inputs, results, weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def stood_for(model: ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By quantiser, what its codes stand for and its scale, as onnxruntime computes them."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    kinds = {"QuantizeLinear": (0, 1, 2), "QLinearConv": (0, 6, 7), "QLinearMatMul": (0, 6, 7)}
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    wanted = [each for each in model.graph.node if each.op_type in (*kinds, "DynamicQuantizeLinear")]
    names = [name for each in wanted for name in each.output]
    known = {each.name for each in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    values = dict(zip(names, runtime.session(model, rewritten=False).run(names, feeds), strict=True))
    found = {}
    for each in wanted:
        codes = values[each.output[0]].astype(np.float64)
        if each.op_type == "DynamicQuantizeLinear":
            scale, zero = (values[name].astype(np.float64) for name in each.output[1:])
        else:
            scale, zero = (constants[each.input[i]].astype(np.float64) for i in kinds[each.op_type][1:])
        if scale.size > 1:
            axis = next((a.i for a in each.attribute if a.name == "axis"), 1)
            shape = [-1 if i == axis else 1 for i in range(codes.ndim)]
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        found[each.name] = scale * (codes - zero), scale
    return found


def check_rewriting(path: Path) -> int:
    """With the errors that onnxruntime made, none above half a step, it is the same function; how many."""
    graph = load(path).graph
    smooth = Smoothing(graph).result(OPERATORS)
    before = {
        each.inputs[1]: each.inputs[0]
        for each in smooth.graph.main.nodes
        if each.inputs[1:2] and each.inputs[1] in smooth.errors
    }
    assert before.keys() == smooth.errors.keys()
    session = runtime.session(as_model(smooth, ["y", *before.values()]), rewritten=False)
    model, draws = onnx.load(path), rng(1)
    for _ in range(2):
        feeds = {"x": draws.uniform(*BOX, SHAPE).astype(np.float32)}
        values = stood_for(model, feeds)
        errors = {name: np.zeros(smooth.graph.shapes[name], np.float32) for name in smooth.errors}
        for name, error in smooth.errors.items():
            real, scale = values[error.quantiser]
            (clipped,) = session.run([before[name]], feeds | errors)
            errors[name] = (real - clipped).astype(np.float32)
            assert (np.abs(errors[name]) <= scale / 2 + 1e-5).all()
        (got,) = session.run(["y"], feeds | errors)
        (expected,) = runtime.session(model, rewritten=False).run(["y"], feeds)
        np.testing.assert_allclose(got, expected, atol=1e-4)
    return len(before)


@pytest.mark.parametrize("form", STATIC)
def test_the_rewriting_is_exact_with_the_errors_that_were_made(form: str, tmp_path: Path) -> None:
    assert check_rewriting(static(convolutional(), tmp_path, **STATIC[form])) >= 4


def test_so_it_is_where_the_input_decides_on_scales(tmp_path: Path) -> None:
    assert check_rewriting(dynamic(convolutional(), tmp_path, per_channel=True)) == 3


SEEDS = [seed if 2 < seed < 7 else pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(12)]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    path = saved(Pieces(seed).model(), tmp_path)
    check_rewriting(path)
    check_pairs(path, quantised(path, BOX), PAIRS)


@pytest.mark.parametrize(
    "ends", [(-1.5, 253.5), (-0.5, 254.5), (-2.5, 252.5), (3.0, 9.0), (-9.0, -3.0), (0, 0)]
)
def test_no_dynamic_quantiser_is_off_by_more_than_half_a_step(ends: tuple[float, float]) -> None:
    """Not even where its zero point is in the middle between two numbers, so that it clips an end."""
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    model = graph_model([node], {"x": [513]}, {}, ["s"])
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in "qz")
    x = np.linspace(*ends, 513).astype(np.float32)
    scale, codes, zero = (each.astype(np.float64) for each in runtime.session(model).run(None, {"x": x}))
    off = np.abs(scale * (codes - zero) - x).max()
    assert off <= scale / 2 * (1 + 1e-5)
    assert off == scale / 2 or ends[1] - ends[0] != 255


def product(zero: str, *, output: bool = False) -> ModelProto:
    """Codes with the zero point 7, from which a MatMulInteger takes another one; they may be an output."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "seven"], ["q"]),
        helper.make_node("MatMulInteger", ["q", "w", zero, "none"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "t"], ["y"]),
    ]
    weights = {"s": np.float32(0.1), "t": np.float32(0.01), "w": np.eye(4, dtype=np.uint8)}
    zeros = {"seven": np.uint8(7), "none": np.uint8(0), "other": np.uint8(8)}
    model = graph_model(nodes, {"x": [1, 4]}, weights | zeros, opset=21)
    if output:
        model.graph.output.append(helper.make_tensor_value_info("q", TensorProto.UINT8, [1, 4]))
    return model


def test_a_product_that_takes_off_another_zero_point_is_no_product_of_what_codes_stand_for(
    tmp_path: Path,
) -> None:
    found = quantised(saved(product("seven"), tmp_path))
    assert found.lipschitz == pytest.approx(0.1, rel=1e-3)
    assert found.added == pytest.approx(0.1 * 0.1 * 2, rel=1e-3)
    for zero in ("other", ""):
        assert audit(saved(product(zero), tmp_path)).bound.quantised is None


def test_codes_as_an_output_are_left_out(tmp_path: Path) -> None:
    bound = audit(saved(product("seven", output=True), tmp_path)).bound
    assert any("'q'" in line and "uint8" in line for line in bound.left_out)
    assert bound.quantised.added == pytest.approx(0.1 * 0.1 * 2, rel=1e-3)


def test_several_scales_count_each_with_its_own_entries(tmp_path: Path) -> None:
    """The jump of a quantiser alone is the whole second term."""
    grid = {"s": np.array([0.25, 0.5, 1.0], np.float32), "z": np.zeros(3, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=1),
        helper.make_node("Identity", ["d"], ["y"]),
    ]
    model = graph_model(nodes, {"x": [1, 3, 2]}, grid, opset=21)
    found = quantised(saved(model, tmp_path))
    middle = np.broadcast_to(grid["s"].reshape(1, 3, 1) / 2, (1, 3, 2))
    session = runtime.session(model)
    above, below = (session.run(None, {"x": (middle + off).astype("f")})[0] for off in (1e-4, -1e-4))
    assert found.lipschitz == pytest.approx(1, rel=1e-9)
    assert np.linalg.norm(above - below) <= found.added <= np.linalg.norm(above - below) * (1 + 1e-6)
