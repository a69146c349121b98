"""Nodes that move, copy, look up and write entries, against onnxruntime."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from convsv_cli.lipschitz.operation import Operation, UnboundedError
from convsv_cli.lipschitz.rules import RULES, movement, pooling, reduction, resizing
from convsv_cli.numerics.intervals import Range
from tests.support.single_nodes import Single, check_jacobian, check_linear, check_range, ints

IMAGE = (1, 4, 2, 6)
MOVED = [
    Single(op="Reshape", moving={0: IMAGE}, constants={1: ints(8, -1)}),
    Single(op="Flatten", moving={0: IMAGE}),
    Single(op="Squeeze", moving={0: IMAGE}, constants={1: ints(0)}),
    Single(op="Squeeze", moving={0: IMAGE}, attributes={"axes": [0]}, opset=11),
    Single(op="Unsqueeze", moving={0: IMAGE}, constants={1: ints(0, 2)}),
    Single(op="Unsqueeze", moving={0: IMAGE}, attributes={"axes": [0]}, opset=11),
    Single(op="Transpose", moving={0: IMAGE}, attributes={"perm": [3, 1, 0, 2]}),
    Single(op="Slice", moving={0: IMAGE}, constants={1: ints(5), 2: ints(0), 3: ints(3), 4: ints(-2)}),
    Single(op="Slice", moving={0: IMAGE}, attributes={"starts": [1], "ends": [3], "axes": [1]}, opset=9),
    Single(op="Split", moving={0: IMAGE}, attributes={"axis": 1, "num_outputs": 2}, outputs=2),
    Single(op="Split", moving={0: IMAGE}, constants={1: ints(1, 3)}, attributes={"axis": 1}, outputs=2),
    Single(op="Split", moving={0: IMAGE}, attributes={"axis": 1, "split": [1, 3]}, outputs=2, opset=11),
    Single(op="DepthToSpace", moving={0: IMAGE}, attributes={"blocksize": 2, "mode": "CRD"}),
    Single(op="SpaceToDepth", moving={0: IMAGE}, attributes={"blocksize": 2}),
    Single(
        op="Compress", moving={0: IMAGE}, constants={1: np.array([True, False, True])}, attributes={"axis": 1}
    ),
    Single(op="Trilu", moving={0: (4, 5)}, constants={1: np.array(-1)}, attributes={"upper": 0}),
    Single(op="Trilu", moving={0: (4, 5)}),
    Single(
        op="ReverseSequence",
        moving={0: (4, 3)},
        constants={1: ints(2, 4, 1)},
        attributes={"time_axis": 0, "batch_axis": 1},
        dtype="float32",
    ),
    Single(op="CenterCropPad", moving={0: (4, 5)}, constants={1: ints(6, 2)}, dtype="float32"),
]


@pytest.mark.parametrize("single", MOVED, ids=lambda single: f"{single.op}-{single.opset}")
def test_moved_entries(single):
    check_linear(single)
    for index in single.constants:
        with pytest.raises(UnboundedError, match="varies"):
            single.rule(discrete=[index])
    assert single.rule(bound=math.inf) == math.inf


def test_concat():
    single = Single(op="Concat", moving={0: (2, 3), 1: (2, 1)}, attributes={"axis": 1})
    assert single.rule() == pytest.approx(math.sqrt(2))
    assert single.norm() == pytest.approx(1.0)
    check_range(single)
    constant = Single(
        op="Concat", moving={0: (2, 3)}, constants={1: np.full((2, 1), 9.0)}, attributes={"axis": 1}
    )
    check_linear(constant)


@pytest.mark.parametrize("seed", range(20))
def test_sorted_values(seed):
    random = np.random.default_rng(seed)
    attributes = {"axis": int(random.integers(-2, 2)), "largest": int(random.integers(0, 2))}
    count = int(random.integers(1, 4))
    single = Single(
        op="TopK", moving={0: (3, 4)}, constants={1: ints(count)}, attributes=attributes, outputs=2
    )
    point = random.standard_normal(12)
    check_jacobian(single, [point], point)
    other = random.standard_normal(12)
    assert np.linalg.norm(single.run(point) - single.run(other)) <= np.linalg.norm(point - other)


def test_unsorted_values_jump():
    single = Single(op="TopK", moving={0: (4,)}, constants={1: ints(2)}, attributes={"sorted": 0}, outputs=2)
    with pytest.raises(UnboundedError, match="jumps"):
        single.rule()


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("shape", [(1, 2), (3, 4), (7, 1)])
@pytest.mark.parametrize("axis", [0, -1])
def test_cumulative_sums(exclusive, reverse, shape, axis):
    attributes = {"exclusive": exclusive, "reverse": reverse}
    single = Single(op="CumSum", moving={0: shape}, constants={1: np.array(axis)}, attributes=attributes)
    check_linear(single)
    with pytest.raises(UnboundedError, match="not known"):
        single.rule(shapes={0: (None, None)})


@pytest.mark.parametrize("seed", range(20))
def test_images_of_columns(seed):
    random = np.random.default_rng(seed)
    block, strides, dilations = random.integers(1, 4, 2), random.integers(1, 3, 2), random.integers(1, 3, 2)
    pads = random.integers(0, 2, 4)
    image = (block - 1) * dilations + random.integers(1, 5, 2)
    free = image + pads[:2] + pads[2:] - (block - 1) * dilations - 1
    count = int(np.prod(free // strides + 1))
    single = Single(
        op="Col2Im",
        moving={0: (1, int(np.prod(block)), count)},
        constants={1: ints(*image), 2: ints(*block)},
        attributes={"strides": strides.tolist(), "dilations": dilations.tolist(), "pads": pads.tolist()},
        dtype="float32",
    )
    check_linear(single)


@pytest.mark.parametrize(
    ("shape", "target"),
    [((1, 3), (2, 3)), ((3, 1), (2, 1, 4)), ((2, 3), (1,)), ((1,), (5,)), ((2, 1), (2, 2))],
)
def test_expand(shape, target):
    single = Single(op="Expand", moving={0: shape}, constants={1: ints(*target)})
    check_linear(single)
    assert single.rule(shapes={0: (None,) * len(shape)}) >= single.rule()
    assert single.rule(shapes={0: None}) >= single.rule()


def test_tile():
    check_linear(Single(op="Tile", moving={0: (2, 3)}, constants={1: ints(2, 3)}))
    check_linear(Single(op="Tile", moving={0: (2, 3)}, constants={1: ints(2, 0)}))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("seed", range(25))
def test_pads(mode, seed):
    """At least as much is there as is padded, but for edges."""
    random = np.random.default_rng(seed)
    shape = tuple(int(size) for size in random.integers(2, 6, 2))
    largest = [99 if mode in ("constant", "edge") else size - (mode == "reflect") for size in shape]
    pads = [min(int(random.integers(0, 5)), most) for most in largest * 2]
    constants = {1: ints(*pads)} | ({2: np.array(3.0)} if mode == "constant" and seed % 2 else {})
    single = Single(op="Pad", moving={0: shape}, constants=constants, attributes={"mode": mode})
    check_linear(single)
    assert single.rule(shapes={0: (None, None)}) >= single.rule() * (1 - 1e-12)
    assert single.rule(shapes={0: None}) >= single.rule() * (1 - 1e-12)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", [(-1, 2, 0, 1), (-1, -1, 0, -2), (1, 0, -2, 0)])
def test_crops(mode, pads):
    single = Single(op="Pad", moving={0: (4, 5)}, constants={1: ints(*pads)}, attributes={"mode": mode})
    check_linear(single, exact=mode == "constant" or max(pads) == 0)


def test_pads_of_some_axes_and_of_old_versions():
    for axes in ((1,), (-1,)):
        constants = {1: ints(2, 1), 3: ints(*axes)}
        check_linear(Single(op="Pad", moving={0: (2, 3)}, constants=constants, attributes={"mode": "edge"}))
    attributes = {"mode": "reflect", "pads": [0, 1, 0, 2]}
    check_linear(Single(op="Pad", moving={0: (2, 3)}, attributes=attributes, opset=10))
    attributes = {"value": 7.0, "pads": [0, 1, 0, 2]}
    check_linear(Single(op="Pad", moving={0: (2, 3)}, attributes=attributes, opset=10))


def test_a_padding_value_that_varies():
    single = Single(op="Pad", moving={0: (2, 2), 2: ()}, constants={1: ints(0, 1, 0, 2)})
    assert single.rule() >= single.norm()
    with pytest.raises(UnboundedError, match="varies"):
        single.rule(discrete=[1])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(seed, axis):
    random = np.random.default_rng(seed)
    indices = random.integers(-3, 3, (2, 3))
    check_linear(Single(op="Gather", moving={0: (3, 4)}, constants={1: indices}, attributes={"axis": axis}))
    single = Single(
        op="GatherElements", moving={0: (3, 4)}, constants={1: indices}, attributes={"axis": axis}
    )
    check_linear(single)
    with pytest.raises(UnboundedError, match="jumps"):
        single.rule(discrete=[1])
    if (indices < 0).any():
        with pytest.raises(UnboundedError, match="not known"):
            single.rule(shapes={0: None})


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("batch", "length"), [(0, 1), (0, 2), (1, 1), (1, 2)])
def test_gather_by_tuples(seed, batch, length):
    random = np.random.default_rng(seed)
    shape = (2, 3, length) if batch else (4, length)
    indices = random.integers(-2, 2, shape)
    attributes = {"batch_dims": batch}
    check_linear(Single(op="GatherND", moving={0: (2, 2, 3)}, constants={1: indices}, attributes=attributes))


REDUCTIONS = ("none", "add", "max", "min")


def largest_together(first: np.ndarray, second: np.ndarray) -> float:
    """The largest `|first x + second y|` over `|x|, |y| <= 1` that alternating steps find."""
    best, random = 0.0, np.random.default_rng(0)
    for _ in range(5):
        result = random.standard_normal(len(first))
        for _ in range(200):
            parts = [matrix.T @ result for matrix in (first, second)]
            x, y = (part / max(np.linalg.norm(part), 1e-300) for part in parts)
            result = first @ x + second @ y
        best = max(best, float(np.linalg.norm(result)))
    return best


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("op", ["ScatterND", "ScatterElements"])
def test_scatter(seed, kind, op):
    """Data and updates both vary, each with constant one."""
    random = np.random.default_rng(seed)
    if op == "ScatterND":
        indices = random.permutation(4)[:3, None] if kind == "none" else random.integers(-4, 4, (3, 1))
        updates = (3, 4)
    else:
        order = np.argsort(random.random((4, 4)), 0)[:2]
        indices = order if kind == "none" else random.integers(-4, 4, (2, 4))
        updates = (2, 4)
    attributes = {"reduction": kind}
    single = Single(op=op, moving={0: (4, 4), 2: updates}, constants={1: indices}, attributes=attributes)
    jacobian = single.jacobian(random.standard_normal(single.length))
    worst, bound = largest_together(jacobian[:, :16], jacobian[:, 16:]), single.rule()
    assert bound >= worst - 1e-6
    if kind in ("none", "add"):
        assert bound == pytest.approx(worst, rel=1e-6)
    check_range(single)


def test_scatter_of_constants():
    constants = {1: ints(0, 2)[:, None], 2: np.ones((2, 4))}
    for kind in REDUCTIONS:
        attributes = {"reduction": kind}
        single = Single(op="ScatterND", moving={0: (3, 4)}, constants=constants, attributes=attributes)
        check_jacobian(single, [np.random.default_rng(0).standard_normal(12)])
        assert single.rule() == pytest.approx(1.0)
    data = {0: np.zeros((3, 4)), 1: ints(1, 1, 2)[:, None]}
    check_linear(Single(op="ScatterND", moving={2: (3, 4)}, constants=data, attributes={"reduction": "add"}))
    with pytest.raises(UnboundedError, match="products"):
        Single(
            op="ScatterND", moving={0: (3, 4)}, constants=constants, attributes={"reduction": "mul"}
        ).rule()


def renamed(op: str, operation: Operation) -> Operation:
    """The operation, taken for another operator."""
    return replace(operation, node=replace(operation.node, op=op))


@pytest.mark.parametrize("op", ["OneHot", "Unique", "MaxRoiPool", "RoiAlign"])
def test_no_bound(op):
    with pytest.raises(UnboundedError):
        RULES[op].lipschitz(renamed(op, MOVED[0].operation()))


@pytest.mark.parametrize("family", [pooling, reduction, movement, resizing])
def test_ranges_are_no_errors_where_arguments_are_unknown(family):
    """The range of a node is asked for without knowing whether it has a bound; at most, there is none."""
    blind = MOVED[0].operation(known=Range(lower=0, upper=1), shapes={0: None}, discrete=[1])
    for op, rule in family.RULES.items():
        with suppress(UnboundedError):
            result = rule.range(renamed(op, blind))
            assert result.lower <= result.upper
