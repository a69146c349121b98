"""Element-wise rules against the measured slopes of the nodes themselves."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from convsv_cli.lipschitz.composition import compose
from convsv_cli.lipschitz.operation import Rule
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.numerics.intervals import ANYTHING, Range
from tests.support.sensitivity import (
    amplification,
    bound,
    composed,
    double_model,
    flat,
    network,
    norms_of_rows,
    runner,
)

node = helper.make_node
SLACK = 1 + 1e-6
EVERYWHERE = [
    ("Relu", {}, 20), ("Abs", {}, 20), ("Neg", {}, 20), ("Tanh", {}, 20), ("Sigmoid", {}, 20),
    ("Erf", {}, 20), ("Softplus", {}, 20), ("Softsign", {}, 20), ("Atan", {}, 20), ("Asinh", {}, 20),
    ("Sin", {}, 20), ("Cos", {}, 20), ("Identity", {}, 20), ("Dropout", {}, 10),
    ("Dropout", {"ratio": 0.9}, 7),
    ("Dropout", {}, 13),
    ("LeakyRelu", {}, 20), ("LeakyRelu", {"alpha": 3.0}, 16), ("LeakyRelu", {"alpha": -2.0}, 7),
    ("Elu", {}, 20), ("Elu", {"alpha": 2.5}, 8), ("Elu", {"alpha": -1.5}, 8),
    ("Celu", {}, 20), ("Celu", {"alpha": 0.3}, 12), ("Celu", {"alpha": 4.0}, 20),
    ("Selu", {}, 20), ("Selu", {"alpha": 0.5, "gamma": 3.0}, 8), ("Selu", {"alpha": 3.0, "gamma": -0.5}, 8),
    ("HardSigmoid", {}, 20), ("HardSigmoid", {"alpha": -0.7, "beta": 0.1}, 8),
    ("HardSwish", {}, 20), ("Mish", {}, 20), ("Gelu", {}, 20), ("Gelu", {"approximate": "tanh"}, 20),
    ("Swish", {}, 24), ("Swish", {"alpha": -1.7}, 24), ("Swish", {"alpha": 0.2}, 24),
    ("Clip", {}, 20), ("Clip", {"min": -0.5, "max": 0.7}, 10), ("Clip", {}, 7),
    ("Shrink", {"lambd": 0.4, "bias": 0.4}, 20), ("ThresholdedRelu", {"alpha": 0.0}, 20),
    ("Cast", {"to": TensorProto.DOUBLE}, 20), ("Pow", {}, 20),
]  # fmt: skip
RANGES = [(-1.3, 0.9), (0.2, 1.9), (-2.0, -0.4)]
BOUNDED = [
    ("Exp", (-math.inf, 1.0)), ("Exp", (-2.0, 3.0)), ("Log", (0.3, math.inf)), ("Log", (0.3, 4.0)),
    ("Sqrt", (0.2, math.inf)), ("Sqrt", (0.5, 9.0)), ("Reciprocal", (0.5, math.inf)),
    ("Reciprocal", (-4.0, -1.0)),
    ("Sinh", (-2.0, 1.0)), ("Cosh", (-1.0, 2.0)), ("Tan", (-1.0, 1.2)), ("Asin", (-0.5, 0.9)),
    ("Acos", (-0.9, 0.1)), ("Atanh", (-0.8, 0.7)), ("Acosh", (1.2, 5.0)), ("Acosh", (1.5, math.inf)),
]  # fmt: skip
AXES = [(13, -1), (13, 0), (13, 1), (13, None), (11, 0), (11, 2), (11, None), (11, -1)]
SINGLE = ("Erf", "Gelu", "Shrink")
JUMPS = ["Sign", "Round", "Floor", "Ceil"]


def scalar_model(op: str, attributes: dict[str, object], opset: int, size: int = 1) -> onnx.ModelProto:
    inputs, weights = ["x"], {}
    if op == "Pow":
        inputs, weights = ["x", "p"], {"p": np.array(1.0)}
    return double_model([node(op, inputs, ["y"], **attributes)], {"x": [size]}, weights, opset=opset)


def outputs(model: onnx.ModelProto, points: np.ndarray) -> np.ndarray:
    """In double precision where it can, of the same model with more entries."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    wide.graph.input[0].type.tensor_type.shape.dim[0].dim_value = len(points)
    return np.ravel(runner(wide)({"x": points})[0])


def steepest(model: onnx.ModelProto, low: float, high: float) -> float:
    """Of chords; less what is lost where kernels compute in single precision."""
    single = model.graph.node[0].op_type in SINGLE
    points = np.linspace(low, high, 401 if single else 20001)
    values = outputs(model, points)
    lost = 2.0**-22 * float(np.abs((points, values)).max()) if single else 0.0
    return float(max(0.0, np.abs(np.diff(values)).max() - lost) / (points[1] - points[0]))


@pytest.mark.parametrize(("op", "attributes", "opset"), EVERYWHERE)
def test_the_steepest_slope_on_the_whole_line(op, attributes, opset):
    model = scalar_model(op, attributes, opset)
    seen, proven = steepest(model, -20, 20), bound(model)
    assert seen <= proven * SLACK
    assert proven <= seen * (1 + 1e-2) + 1e-9


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize(("op", "attributes", "opset"), EVERYWHERE)
def test_slopes_and_values_over_ranges(op, attributes, opset, low, high):
    model = scalar_model(op, attributes, opset)
    seen, proven = steepest(model, low, high), bound(model, Range(lower=low, upper=high))
    assert seen <= proven * SLACK + 1e-9
    chord = (high - low) / (400 if op in SINGLE else 20000)
    assert proven <= seen * (1 + 1e-4) + 1.5 * chord
    assert_in_range(model, low, high)


def assert_in_range(model: onnx.ModelProto, low: float, high: float) -> None:
    found = values_of(model, Range(lower=low, upper=high))
    values = outputs(model, np.linspace(low, high, 2001))
    slack = 1e-6 * (1 + np.abs(values).max())
    assert found.lower - slack <= values.min()
    assert values.max() <= found.upper + slack
    assert found.upper - found.lower <= (values.max() - values.min()) * 1.01 + 1e-2


def values_of(model: onnx.ModelProto, over: Range) -> Range:
    """What the rule of the only node says, as seen by a rule after it."""
    seen: list[Range] = []
    only = model.graph.node[0].op_type
    rule = RULES[only]

    def spy(operation):
        seen.append(rule.range(operation))
        return seen[-1]

    found = network(model)
    compose(
        found.graph, {**RULES, only: Rule(lipschitz=rule.lipschitz, range=spy)}, norms_of_rows(found), over
    )
    return seen[0]


@pytest.mark.parametrize(("op", "ends"), BOUNDED)
def test_functions_with_bounded_slopes_on_some_ranges(op, ends):
    model = scalar_model(op, {}, 20)
    low, high = (min(max(end, -30.0), 30.0) for end in ends)
    seen, proven = steepest(model, low, high), bound(model, Range(lower=ends[0], upper=ends[1]))
    assert seen <= proven * SLACK
    assert proven <= seen * (1 + 1e-2)


@pytest.mark.parametrize("op", sorted({op for op, _ in BOUNDED}) + JUMPS + ["ThresholdedRelu", "Shrink"])
def test_functions_without_a_bound_say_so(op):
    (offence,) = composed(scalar_model(op, {}, 20)).offences
    assert offence.node.op == op
    assert "bound" in offence.reason or "jumps" in offence.reason


@pytest.mark.parametrize("op", JUMPS)
def test_steps_are_flat_between_their_jumps(op):
    flat_range, jumping = Range(lower=0.6, upper=0.9), Range(lower=-0.2, upper=0.7)
    assert bound(scalar_model(op, {}, 20), flat_range) == 0
    assert bound(scalar_model(op, {}, 20), jumping) == math.inf


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -1.0, -2.0, 1.5, 0.0])
def test_powers(exponent):
    model = double_model([node("Pow", ["x", "p"], ["y"])], {"x": [1]}, {"p": np.array([exponent])})
    over = Range(lower=0.4, upper=2.5)
    assert steepest(model, 0.4, 2.5) <= bound(model, over) * SLACK
    assert bound(model, over) == pytest.approx(steepest(model, 0.4, 2.5), rel=1e-2)
    assert bound(model) == (0 if exponent == 0 else math.inf)


@pytest.mark.parametrize("limits", [("", "b"), ("a", ""), ("a", "b"), ("b", "a")])
def test_limits_of_clip_as_inputs(limits):
    weights = {"a": np.array(-0.5), "b": np.array(0.7)}
    used = {name: weights[name] for name in limits if name}
    model = double_model([node("Clip", ["x", *limits], ["y"])], {"x": [1]}, used, opset=13)
    seen = steepest(model, -3, 3)
    assert bound(model) == pytest.approx(max(seen, 0.0) if limits != ("b", "a") else 1.0)
    assert bound(model, Range(lower=5, upper=6)) == pytest.approx(steepest(model, 5, 6))
    assert_in_range(model, -3, 3)


@pytest.mark.parametrize("shape", [[3, 1], [1], [3, 2]])
def test_prelu(shape):
    slopes = np.random.default_rng(0).uniform(-3, 3, shape)
    model = double_model([node("PRelu", ["x", "s"], ["y"])], {"x": [3, 2]}, {"s": slopes})
    below = max(1.0, float(np.abs(slopes).max()))
    assert bound(model) == pytest.approx(below)
    assert amplification(flat(model, {"x": [3, 2]}), 6, points=20) <= bound(model) * SLACK
    assert bound(model, Range(lower=1, upper=2)) == pytest.approx(1)
    assert bound(model, Range(lower=-2, upper=-1)) == pytest.approx(float(np.abs(slopes).max()))


def test_a_slope_that_varies():
    inputs = {"x": [3], "s": [3]}
    (offence,) = composed(double_model([node("PRelu", ["x", "s"], ["y"])], inputs, {})).offences
    assert "slope varies" in offence.reason


@pytest.mark.parametrize(
    ("opset", "axis"), [(13, -1), (13, 0), (13, 1), (13, None), (11, 0), (11, 2), (11, None), (11, -1)]
)
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_probabilities(op, opset, axis):
    shape = [2, 3, 2]
    attributes = {} if axis is None else {"axis": axis}
    model = double_model([node(op, ["x"], ["y"], **attributes)], {"x": shape}, {}, opset=opset)
    function, size = flat(model, {"x": shape}), 12
    seen = amplification(function, size, points=30, scale=1.0)
    assert seen <= bound(model) * SLACK
    peak = np.zeros(shape)
    peak[(0,) * 3] = 40.0
    if op == "LogSoftmax":
        attained = amplification(lambda x: function(x + peak.ravel()), size)
        assert attained == pytest.approx(bound(model), rel=1e-6)
    else:
        assert bound(model) == pytest.approx(0.5)


def test_half_is_reached_by_softmax():
    model = double_model([node("Softmax", ["x"], ["y"])], {"x": [2]}, {})
    function = flat(model, {"x": [2]})
    assert amplification(function, 2, scale=1e-9) == pytest.approx(bound(model), rel=1e-6)


def test_hardmax_and_training_have_no_bound():
    (offence,) = composed(double_model([node("Hardmax", ["x"], ["y"])], {"x": [3]}, {})).offences
    assert "jumps" in offence.reason
    weights = {"r": np.array(0.5), "t": np.array(True)}
    (offence,) = composed(
        double_model([node("Dropout", ["x", "r", "t"], ["y"])], {"x": [3]}, weights)
    ).offences
    assert "training_mode" in offence.reason
    weights["t"] = np.array(False)
    assert bound(
        double_model([node("Dropout", ["x", "r", "t"], ["y"])], {"x": [3]}, weights)
    ) == pytest.approx(1)


def test_an_unknown_approximation_has_no_bound():
    model = double_model([node("Gelu", ["x"], ["y"], approximate="cubic")], {"x": [3]}, {})
    (offence,) = composed(model, ANYTHING).offences
    assert "cubic" in offence.reason
