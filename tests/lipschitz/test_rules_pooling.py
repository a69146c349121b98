"""Pooling and reductions, against onnxruntime."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from convsv_cli import audit
from convsv_cli.lipschitz.axis_matrices import Windows
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.numerics.intervals import Range
from tests.support import runtime
from tests.support.onnx_models import graph_model, saved
from tests.support.single_nodes import Single, check_jacobian, check_linear, check_range, ints


def pooling(
    random: np.random.Generator, op: str, **fixed: object
) -> tuple[dict[str, object], tuple[int, ...]]:
    """Random attributes of pooling, and the shape of an image that is large enough."""
    rank = int(random.integers(1, 3))
    kernel = random.integers(1, 5, rank)
    dilations = random.integers(1, 4, rank)
    attributes: dict[str, object] = {
        "kernel_shape": kernel.tolist(),
        "strides": random.integers(1, 4, rank).tolist(),
        "dilations": dilations.tolist(),
        "ceil_mode": int(random.integers(0, 2)),
    } | fixed
    automatic = str(random.choice(["NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if automatic == "NOTSET":
        attributes["pads"] = [int(random.integers(0, k)) for k in [*kernel, *kernel]]
    else:
        attributes["auto_pad"] = automatic
        if automatic != "VALID":
            attributes["dilations"] = [1] * rank
            attributes["strides"] = np.minimum(attributes["strides"], kernel).tolist()
    if op == "AveragePool":
        attributes["count_include_pad"] = int(random.integers(0, 2))
    sizes = (kernel - 1) * dilations + random.integers(1, 6, rank)
    return attributes, (1, 1, *(int(size) for size in sizes))


@pytest.mark.parametrize("seed", range(80))
@pytest.mark.parametrize("opset", [11, 22])
def test_average_pools(seed, opset):
    random = np.random.default_rng(seed)
    attributes, shape = pooling(random, "AveragePool")
    if opset < 19:
        del attributes["dilations"]
    single = Single(op="AveragePool", moving={0: shape}, attributes=attributes, dtype="float32", opset=opset)
    check_linear(single, tolerance=2e-6)


def test_average_pool_above_one():
    """Of OPERATORS.md: corners of a padded image count more."""
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    single = Single(op="AveragePool", moving={0: (1, 1, 6, 6)}, attributes=attributes, dtype="float32")
    assert abs(single.rule() - 1.01948) < 1e-5
    check_linear(single)


@pytest.mark.parametrize("opset", [7, 10, 11, 19, 24])
def test_average_pools_of_all_versions(opset):
    attributes = {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}
    check_linear(
        Single(op="AveragePool", moving={0: (1, 1, 8)}, attributes=attributes, dtype="float32", opset=opset)
    )


@pytest.mark.parametrize("seed", range(40))
def test_max_pools_at_a_spike(seed):
    """The spike stands where most windows meet."""
    random = np.random.default_rng(seed)
    attributes, shape = pooling(random, "MaxPool")
    single = Single(op="MaxPool", moving={0: shape}, attributes=attributes)
    spikes = random.standard_normal(single.length) + 100 * np.eye(single.length)
    norms = [single.jacobian_norm(spike) for spike in spikes]
    check_jacobian(single, [random.standard_normal(single.length)], spikes[int(np.argmax(norms))])


def test_a_dilated_max_pool_by_hand():
    """ceil(k / s) = 2 windows would be wrong: k3 s2 d2 p1 has three."""
    attributes = {"kernel_shape": [3], "strides": [2], "dilations": [2], "pads": [1, 1]}
    single = Single(op="MaxPool", moving={0: (1, 1, 12)}, attributes=attributes)
    assert abs(single.rule() - math.sqrt(3)) < 1e-9
    assert abs(single.jacobian_norm(100 * np.eye(12)[5]) - math.sqrt(3)) < 1e-6


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pools(seed, p):
    random = np.random.default_rng(seed)
    attributes, shape = pooling(random, "LpPool", p=p)
    single = Single(op="LpPool", moving={0: shape}, attributes=attributes, dtype="float32", opset=22)
    points = [np.abs(random.standard_normal(single.length)) + 0.1]
    bound = single.rule()
    assert bound >= single.jacobian_norm(points[0], 1e-2) * (1 - 1e-3)
    if p == 1:
        attaining = np.ones(single.length)
        assert bound <= single.jacobian_norm(attaining, 0.5) * (1 + 1e-5)
    else:
        best = max(single.jacobian_norm(1000.0 * unit, 10.0) for unit in np.eye(single.length))
        assert bound <= best * (1 + 1e-3)
    check_range(single)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("include", [0, 1])
def test_unknown_sizes_are_bounded_for_all(seed, include):
    random = np.random.default_rng(seed)
    kernel, stride, dilation = (int(k) for k in random.integers(1, 6, 3))
    pads = tuple(int(pad) for pad in random.integers(0, kernel, 2))
    ceil = bool(random.integers(0, 2))
    rest = {"kernel": kernel, "stride": stride, "dilation": dilation, "pads": pads, "ceil": ceil}
    unknown = Windows(size=None, **rest)
    for size in (1, 2, 3, 5, 8, 13, 21):
        windows = Windows(size=size, **rest)
        average = windows.average_norm(include_pad=bool(include))
        assert unknown.overlap() >= windows.overlap()
        assert unknown.average_norm(include_pad=bool(include)) >= average * (1 - 1e-12)
        assert unknown.sum_norm() >= windows.sum_norm() * (1 - 1e-12)


def test_dilated_same_padding_is_bounded_without_knowing_it():
    attributes = {"kernel_shape": [3], "dilations": [2], "auto_pad": "SAME_UPPER"}
    single = Single(op="MaxPool", moving={0: (1, 1, 9)}, attributes=attributes)
    check_jacobian(single, list(100.0 * np.eye(9)))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_global_pools(op):
    single = Single(op=op, moving={0: (2, 3, 4, 2)}, dtype="float32")
    random = np.random.default_rng(0)
    assert single.rule() >= single.jacobian_norm(random.standard_normal(48), 1e-2) * (1 - 1e-3)
    expected = {"GlobalAveragePool": 1 / math.sqrt(8)}.get(op, 1.0)
    assert abs(single.rule() - expected) < 1e-12
    assert single.rule(shapes={0: (2, 3, None, 2)}) >= single.rule()
    check_range(single)


def test_global_sums_of_absolute_values():
    single = Single(op="GlobalLpPool", moving={0: (1, 2, 5)}, attributes={"p": 1}, dtype="float32")
    assert abs(single.rule() - math.sqrt(5)) < 1e-9
    assert abs(single.jacobian_norm(np.ones(10), 0.5) - math.sqrt(5)) < 1e-5
    with pytest.raises(UnboundedError, match="not known"):
        single.rule(shapes={0: None})


LINEAR = ("ReduceSum", "ReduceMean")
NONLINEAR = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMin", "ReduceLogSumExp")
BOUNDED = ("ReduceProd", "ReduceSumSquare", "ReduceLogSum")


def reduction(op: str, opset: int, axes: list[int] | None, **attributes: object) -> Single:
    as_input = opset >= (13 if op == "ReduceSum" else 18)
    constants = {1: ints(*axes)} if as_input and axes is not None else {}
    if axes is not None and not as_input:
        attributes["axes"] = axes
    return Single(op=op, moving={0: (2, 3, 4)}, constants=constants, attributes=attributes, opset=opset)


AXES = [None, [0], [1, 2], [-1], [0, 1, 2]]


@pytest.mark.parametrize("opset", [11, 13, 18, 20])
@pytest.mark.parametrize("axes", AXES)
def test_linear_reductions(opset, axes):
    for op in LINEAR:
        check_linear(reduction(op, opset, axes))


@pytest.mark.parametrize("op", NONLINEAR)
@pytest.mark.parametrize("axes", AXES)
def test_nonlinear_reductions(op, axes):
    single = reduction(op, 20, axes)
    random = np.random.default_rng(0)
    attaining = {"ReduceL1": np.ones(24)}.get(op, 1e-3 * np.arange(24) + 40 * (np.arange(24) == 5))
    check_jacobian(
        single, [random.standard_normal(24) for _ in range(3)], attaining if op != "ReduceMin" else None
    )


@pytest.mark.parametrize("op", BOUNDED)
def test_reductions_that_a_range_bounds(op):
    single = reduction(op, 20, [1])
    with pytest.raises(UnboundedError):
        single.rule()
    known = Range(lower=0.5, upper=1.5)
    bound = single.rule(known=known)
    random = np.random.default_rng(0)
    points = [random.uniform(0.5, 1.5, 24) for _ in range(5)] + [np.full(24, 0.5), np.full(24, 1.5)]
    norms = [single.jacobian_norm(point) for point in points]
    assert bound >= max(norms) - 1e-6
    assert bound <= max(norms) + 1e-5
    check_range(single, 0.5, 1.5)


def test_no_axes_no_reduction():
    for op in ("ReduceSum", "ReduceL1"):
        single = reduction(op, 20, [], noop_with_empty_axes=1)
        assert single.rule() == pytest.approx(1.0)
        check_jacobian(single, [np.random.default_rng(0).standard_normal(24)])
    single = reduction("ReduceProd", 20, [], noop_with_empty_axes=1)
    with pytest.raises(UnboundedError, match="do not agree"):
        single.rule(known=Range(lower=0, upper=1))


def test_unknown_sizes_of_reductions():
    single = reduction("ReduceMean", 20, [1, 2])
    assert single.rule(shapes={0: (2, None, 4)}) == pytest.approx(0.5)
    assert single.rule(shapes={0: None}) >= 1
    with pytest.raises(UnboundedError, match="not known"):
        reduction("ReduceSum", 20, [1]).rule(shapes={0: (2, None, 4)})
    with pytest.raises(UnboundedError, match="x1"):
        single.rule(discrete=[1])


@pytest.mark.parametrize("op", ["AveragePool", "MaxPool", "LpPool"])
def test_a_window_that_fits_nowhere_has_no_bound(op: str, tmp_path: Path) -> None:
    """By ONNX, nothing comes out; onnxruntime rounds a negative number towards zero and pools the rest."""
    node = helper.make_node(op, ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2])
    path = saved(graph_model([node], {"x": [1, 1, 2, 5]}, {}), tmp_path)
    session = runtime.session(path)
    (low,), (high,) = (session.run(None, {"x": np.full((1, 1, 2, 5), x, np.float32)}) for x in (0, 1))
    assert np.abs(high - low).max() > 0
    bound = audit(path).bound
    assert bound.status == "unbounded"
    assert "larger than what it slides over" in bound.obstacles[0].reason
