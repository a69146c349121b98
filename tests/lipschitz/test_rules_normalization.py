"""Rules of normalization against Jacobians, at random inputs and where they are attained."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from convsv_cli.lipschitz.axis_matrices import centred_norm
from convsv_cli.numerics.intervals import Range
from tests.support.sensitivity import bound, composed, double_model, flat, jacobian

node = helper.make_node


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def norms(model, shape, points, step=1e-7, outputs=slice(None)) -> float:
    """The largest Jacobian norm at some points."""
    function = flat(model, {"x": shape})
    return max(
        float(np.linalg.norm(jacobian(lambda x: function(x)[outputs], np.ravel(point), step), 2))
        for point in points
    )


def points(shape, seed=0, scales=(1e-3, 1e-2, 0.1, 1.0)):
    return [scale * normal(*shape, seed=seed + i) for i, scale in enumerate(scales)]


def reason(model) -> str:
    (offence,) = composed(model).offences
    return offence.reason


BATCH = {"s": normal(3), "b": normal(3, seed=1), "m": normal(3, seed=2), "v": np.abs(normal(3, seed=3))}


@pytest.mark.parametrize("opset", [7, 9, 14, 15, 20])
def test_batch_normalization_is_a_scaling(opset: int) -> None:
    """Planted elsewhere: the variance without its root."""
    attributes = {"epsilon": 0.01} if opset != 9 else {}
    model = double_model(
        [node("BatchNormalization", ["x", *BATCH], ["y"], **attributes)], {"x": [1, 3, 2]}, BATCH, opset=opset
    )
    epsilon = np.float32(attributes.get("epsilon", 1e-5))
    by_hand = np.abs(BATCH["s"] / np.sqrt(BATCH["v"] + epsilon)).max()
    assert by_hand <= bound(model) <= by_hand * (1 + 1e-9)
    assert norms(model, [1, 3, 2], [normal(1, 3, 2)]) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize(
    ("opset", "outputs", "attributes", "why"),
    [
        (20, ["y"], {"training_mode": 1}, "training mode"),
        (9, ["y", "m2", "v2", "m3", "v3"], {}, "training mode"),
        (6, ["y"], {}, "training mode"),
        (20, ["y"], {"epsilon": -9.0}, "not positive"),
    ],
)
def test_batch_normalization_that_is_no_scaling(opset, outputs, attributes, why) -> None:
    nodes = [node("BatchNormalization", ["x", *BATCH], outputs, **attributes)]
    assert why in reason(double_model(nodes, {"x": [1, 3, 2]}, BATCH, opset=opset))


def test_a_scale_that_varies_has_no_bound() -> None:
    weights = {name: value for name, value in BATCH.items() if name != "s"}
    nodes = [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"])]
    assert "'s' varies" in reason(double_model(nodes, {"x": [1, 3, 2], "s": [3]}, weights))


@pytest.mark.parametrize("seed", range(20))
def test_centred_norm_is_that_of_the_matrix(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = int(generator.integers(1, 9))
    scales = generator.standard_normal((3, n)) * (generator.random((3, n)) < 0.8)
    if seed % 3 == 0:
        scales = np.round(scales)
    matrices = scales[:, :, None] * (np.eye(n) - 1 / n)
    true = np.linalg.norm(matrices, 2, axis=(1, 2)).max()
    assert true * (1 - 1e-12) <= centred_norm(scales) <= true * (1 + 1e-9) + 1e-300


@pytest.mark.parametrize(
    ("shape", "axis", "scale"),
    [
        ([2, 5], -1, [5]),
        ([2, 3, 4], 1, [3, 4]),
        ([2, 3], 0, [2, 3]),
        ([2, 3, 2], -1, [3, 2]),
        ([2, 4], -1, [1]),
    ],
)
def test_layer_normalization_at_a_constant_input(shape, axis, scale) -> None:
    """Attained; the scale may differ between rows."""
    weights = {"s": normal(*scale, seed=4), "b": normal(*scale, seed=5)}
    nodes = [node("LayerNormalization", ["x", *weights], ["y"], axis=axis, epsilon=0.01)]
    model = double_model(nodes, {"x": shape}, weights)
    limit = bound(model)
    assert norms(model, shape, points(shape)) <= limit * (1 + 1e-6)
    assert norms(model, shape, [np.full(shape, 0.7)]) == pytest.approx(limit, rel=1e-6)


def test_the_default_epsilon_is_a_float() -> None:
    weights = {"s": np.ones(8)}
    model = double_model([node("LayerNormalization", ["x", "s"], ["y"])], {"x": [1, 8]}, weights)
    assert bound(model) >= float(np.float32(1e-5)) ** -0.5 > 1e-5**-0.5


def test_layer_normalization_of_an_unknown_size() -> None:
    nodes = [node("LayerNormalization", ["x", "s"], ["y"], axis=1, epsilon=0.25)]
    model = double_model(nodes, {"x": [1, "a", "b"]}, {"s": np.array([-3.0])})
    assert bound(model) == pytest.approx(6)


def test_the_statistics_of_layer_normalization() -> None:
    """They may vary faster than the output does: here 1/s, at a variance of epsilon/2."""
    n, epsilon = 4, 0.01
    nodes = [node("LayerNormalization", ["x", "s"], ["y", "mean", "inverse"], epsilon=epsilon)]
    model = double_model(nodes, {"x": [1, n]}, {"s": np.full(n, 0.01)}, ["mean", "inverse"])
    worst = np.array([[1, -1, 1, -1]]) * math.sqrt(epsilon / 2)
    seen = norms(model, [1, n], [worst], outputs=slice(1, 2))
    assert bound(model) == pytest.approx(seen * math.sqrt(2), rel=1e-5)  # each of the two outputs may
    assert norms(model, [1, n], points([1, n])) <= bound(model)


def test_layer_normalization_without_epsilon() -> None:
    nodes = [node("LayerNormalization", ["x", "s"], ["y"], epsilon=0.0)]
    assert "epsilon is 0" in reason(double_model(nodes, {"x": [1, 4]}, {"s": np.ones(4)}))


@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_normalization_at_zero(axis: int) -> None:
    nodes = [node("RMSNormalization", ["x", "s"], ["y"], axis=axis, epsilon=0.01)]
    model = double_model(nodes, {"x": [1, 2, 3]}, {"s": normal(3)}, opset=23)
    assert norms(model, [1, 2, 3], points([1, 2, 3])) <= bound(model) * (1 + 1e-6)
    assert norms(model, [1, 2, 3], [np.zeros(6)]) == pytest.approx(bound(model), rel=1e-6)


@pytest.mark.parametrize(("opset", "scales"), [(18, 2), (21, 4), (23, 4)])
def test_group_normalization_at_a_constant_input(opset: int, scales: int) -> None:
    weights = {"s": normal(scales, seed=6), "b": normal(scales, seed=7)}
    double = {"stash_type": TensorProto.DOUBLE} if opset > 18 else {}
    nodes = [node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2, epsilon=0.01, **double)]
    model = double_model(nodes, {"x": [1, 4, 3]}, weights, opset=opset)
    assert norms(model, [1, 4, 3], points([1, 4, 3])) <= bound(model) * (1 + 1e-6)
    assert norms(model, [1, 4, 3], [np.full(12, 0.5)]) == pytest.approx(bound(model), rel=1e-6)


def test_instance_normalization_at_a_constant_input() -> None:
    weights = {"s": normal(2, seed=8), "b": normal(2, seed=9)}
    nodes = [node("InstanceNormalization", ["x", "s", "b"], ["y"], epsilon=0.01)]
    model = double_model(nodes, {"x": [2, 2, 3]}, weights)
    assert norms(model, [2, 2, 3], points([2, 2, 3])) <= bound(model) * (1 + 1e-6)
    assert norms(model, [2, 2, 3], [np.full(12, 0.5)]) == pytest.approx(bound(model), rel=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_local_response_normalization(seed: int) -> None:
    """Above all slopes, from single spikes to equal channels; at zero they are bias^-beta."""
    generator = np.random.default_rng(seed)
    size, channels = int(generator.integers(1, 7)), int(generator.integers(1, 8))
    attributes = {
        "alpha": float(generator.choice([0.0, 0.1, 1.0, 5.0])),
        "beta": float(generator.choice([0.0, 0.3, 0.75, 2.0, 9.0])),
        "bias": float(generator.uniform(0.5, 2)),
        "size": size,
    }
    shape = [1, channels, 1, 1]
    model = double_model([node("LRN", ["x"], ["y"], **attributes)], {"x": shape}, {})
    tried = points(shape, seed, (0.1, 0.3, 0.5, 1.0, 2.0))
    tried += [np.full(shape, level) for level in (0.1, 0.2, 0.4, 0.6, 1.0, 1.5)]
    limit, seen = bound(model), norms(model, shape, tried, 1e-6)
    flat_slope = np.float32(attributes["bias"]) ** -np.float32(attributes["beta"])
    assert seen <= limit * (1 + 1e-6)
    assert norms(model, shape, [np.zeros(shape)], 1e-6) == pytest.approx(flat_slope, rel=1e-5)
    assert flat_slope * (1 - 1e-6) <= limit <= flat_slope * (1 + math.sqrt(size - 1) / math.e) * (1 + 1e-6)


@pytest.mark.parametrize(
    "attributes", [{"alpha": -1.0}, {"bias": 0.0}, {"beta": -0.5}, {"bias": 1e-30, "beta": 20.0}]
)
def test_local_response_normalization_that_may_divide_by_zero(attributes) -> None:
    model = double_model([node("LRN", ["x"], ["y"], size=3, **attributes)], {"x": [1, 4, 1, 1]}, {})
    assert "near zero" in reason(model)


@pytest.mark.parametrize(
    ("op", "attributes", "why"),
    [("LpNormalization", {}, "near zero"), ("MeanVarianceNormalization", {"axes": [1]}, "1e-9")],
)
def test_normalization_by_what_may_vanish(op, attributes, why) -> None:
    assert why in reason(double_model([node(op, ["x"], ["y"], **attributes)], {"x": [1, 4]}, {}))


def test_onnxruntime_adds_nothing_to_a_deviation() -> None:
    """Why MeanVarianceNormalization has no bound, though 1e9 would be one of its definition."""
    graph = helper.make_graph(
        [node("MeanVarianceNormalization", ["x"], ["y"], axes=[0, 2, 3])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10)
    small = np.array([-1e-9, 1e-9], np.float32)
    assert flat(model, {"x": [1, 1, 1, 2]})(small) == pytest.approx([-1, 1])


SCALE = {"s": normal(4, seed=10), "b": normal(4, seed=11)}
RANGED = [
    ("BatchNormalization", {**SCALE, "m": normal(4, seed=12), "v": np.abs(normal(4))}, {}, ["y"]),
    ("LayerNormalization", SCALE, {}, ["y"]),
    ("LayerNormalization", SCALE, {}, ["y", "mean", "inverse"]),
    ("RMSNormalization", {"s": SCALE["s"]}, {}, ["y"]),
    ("GroupNormalization", SCALE, {"num_groups": 2}, ["y"]),
    ("InstanceNormalization", SCALE, {}, ["y"]),
    ("LRN", {}, {"size": 2, "bias": 0.5}, ["y"]),
    ("LpNormalization", {}, {"p": 1}, ["y"]),
]


@pytest.mark.parametrize(("op", "weights", "attributes", "outputs"), RANGED)
def test_ranges_hold_all_entries(op, weights, attributes, outputs) -> None:
    """By a product with itself: |y dy| is at most 2 sup|y| L."""
    shape = [2, 4, 4]
    if op == "LRN":
        shape = [2, 4, 4, 1]
    first = node(op, ["x", *weights], outputs, **attributes)
    model = double_model([first], {"x": shape}, weights, outputs, opset=23)
    inside = [np.clip(point, -1, 2) for point in points(shape, 3, (0.1, 1.0, 10.0))]
    spike = np.full(shape, -1.0)
    spike[0, 0, 0] = 2.0
    seen = max(np.abs(flat(model, {"x": shape})(np.ravel(point))).max() for point in [*inside, spike])
    largest = _range(model, Range(lower=-1.0, upper=2.0)).magnitude
    assert seen <= largest < math.inf


def _range(model, input_range: Range) -> Range:
    """What a rule says, as a node after it sees it."""
    from convsv_cli.lipschitz.composition import _Composition
    from convsv_cli.lipschitz.rules import RULES
    from tests.support.sensitivity import network, norms_of_rows

    found = network(model)
    composition = _Composition(found.graph, RULES, norms_of_rows(found), input_range)
    composition.result()
    return composition._find(found.graph.main.outputs[0]).range


def test_weights_that_do_not_fit() -> None:
    nodes = [node("LayerNormalization", ["x", "s"], ["y"])]
    model = double_model(nodes, {"x": [1, 4]}, {"s": np.ones(3)})
    assert "does not fit" in reason(model)


def test_weights_that_are_no_numbers() -> None:
    nodes = [node("InstanceNormalization", ["x", "s", "b"], ["y"])]
    model = double_model(nodes, {"x": [1, 1, 4]}, {"s": np.array([np.nan]), "b": np.zeros(1)})
    assert "NaN" in reason(model)


def test_torch_weights_in_half_precision() -> None:
    """Weights of another type than double are read as what they are."""
    graph = helper.make_graph(
        [node("LayerNormalization", ["x", "s"], ["y"], epsilon=0.25)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, None)],
        [numpy_helper.from_array(np.array([1, 1], np.float16), "s")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    assert bound(model) == pytest.approx(2)
