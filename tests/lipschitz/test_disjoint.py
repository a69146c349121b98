"""Bounds through disjoint parts of tensors: exact where the constant is known, and never too small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, helper

from convsv_cli.lipschitz.paths import Paths
from tests.support.sampling import one_in
from tests.support.sensitivity import amplification, bound, double_model, flat
from tests.support.whole_bounds import by_rules

node = helper.make_node
EXACT = 1e-2
GOLDEN = (1 + math.sqrt(5)) / 2
"""The norm of [[1, 0], [1, 1]]."""


def numbers(**constants: Sequence[int]) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in constants.items()}


def split(*names: str, axis: int = 0, source: str = "x"):
    return node("Split", [source], list(names), axis=axis, num_outputs=len(names))


def joined(*names: str, axis: int = 0, result: str = "y"):
    return node("Concat", list(names), [result], axis=axis)


def sliced(source: str, result: str, axis: str, start: str, end: str):
    return node("Slice", [source, start, end, axis], [result])


ENDS = numbers(zero=[0], one=[1], two=[2], three=[3], four=[4], last=[-1], much=[99])
CASES = {
    "split, functions, concat": (
        [split("a", "b"), node("Tanh", ["a"], ["c"]), node("Relu", ["b"], ["d"]), joined("c", "d")],
        1,
    ),
    "parts by different matrices": (
        [
            split("a", "b"),
            node("Mul", ["a", "double"], ["c"]),
            node("Mul", ["b", "triple"], ["d"]),
            joined("c", "d"),
        ],
        3,
    ),
    "all of it and a part": ([split("a", "b"), node("Tanh", ["x"], ["c"]), joined("c", "b")], math.sqrt(2)),
    "slices that overlap": (
        [
            sliced("x", "a", "zero", "zero", "three"),
            sliced("x", "b", "zero", "one", "four"),
            node("Tanh", ["b"], ["c"]),
            joined("a", "c"),
        ],
        math.sqrt(2),
    ),
    "the same part twice": ([split("a", "b"), node("Tanh", ["a"], ["c"]), joined("a", "c")], math.sqrt(2)),
    "sorted": (
        [split("a", "b"), node("Max", ["a", "b"], ["c"]), node("Min", ["b", "a"], ["d"]), joined("c", "d")],
        1,
    ),
    "sorted against a constant": (
        [node("Max", ["x", "mixed"], ["c"]), node("Min", ["x", "mixed"], ["d"]), joined("c", "d")],
        1,
    ),
    "the larger, twice": (
        [split("a", "b"), node("Max", ["a", "b"], ["c"]), node("Max", ["b", "a"], ["d"]), joined("c", "d")],
        math.sqrt(2),
    ),
    "extremes of lines": (
        [
            node("ReduceMax", ["x", "zero"], ["c"]),
            node("ReduceMin", ["x", "zero"], ["d"]),
            joined("c", "d"),
        ],
        1,
    ),
    "extremes of one number": (
        [
            sliced("x", "a", "zero", "zero", "one"),
            node("ReduceMax", ["a", "zero"], ["c"]),
            node("ReduceMin", ["a", "zero"], ["d"]),
            joined("c", "d"),
        ],
        math.sqrt(2),
    ),
    "extremes of each number": (
        [
            node("ReduceMax", ["x"], ["c"], noop_with_empty_axes=1),
            node("ReduceMin", ["x"], ["d"], noop_with_empty_axes=1),
            joined("c", "d"),
        ],
        math.sqrt(2),
    ),
    "both signs": (
        [node("Neg", ["x"], ["n"]), node("Relu", ["x"], ["a"]), node("Relu", ["n"], ["b"]), joined("a", "b")],
        1,
    ),
    "both signs by Max and Min": (
        [node("Max", ["x", "nought"], ["a"]), node("Min", ["x", "nought"], ["b"]), joined("a", "b")],
        1,
    ),
    "both signs by Clip": (
        [node("Clip", ["x", "nought"], ["a"]), node("Clip", ["x", "", "nought"], ["b"]), joined("a", "b")],
        1,
    ),
    "one sign twice": (
        [node("Relu", ["x"], ["a"]), node("LeakyRelu", ["x"], ["b"], alpha=-0.5), joined("a", "b")],
        math.sqrt(2),
    ),
    "lengths of both signs": (
        [node("Abs", ["x"], ["a"]), node("Relu", ["x"], ["b"]), joined("a", "b")],
        math.sqrt(2),
    ),
    "what was negative": (
        [
            node("Neg", ["x"], ["n"]),
            node("Abs", ["n"], ["m"]),
            node("Relu", ["m"], ["a"]),
            node("Relu", ["x"], ["b"]),
            joined("a", "b"),
        ],
        math.sqrt(2),
    ),
    "roll": (
        [
            sliced("x", "a", "zero", "one", "much"),
            sliced("x", "b", "zero", "zero", "one"),
            joined("a", "b", result="r"),
            sliced("r", "c", "one", "last", "much"),
            sliced("r", "d", "one", "zero", "last"),
            node("Concat", ["c", "d"], ["y"], axis=1),
        ],
        1,
    ),
    "shuffle by Gather": (
        [node("Gather", ["x", "even"], ["a"]), node("Gather", ["x", "odd"], ["b"]), joined("a", "b")],
        1,
    ),
    "lines one by one": (
        [
            node("Gather", ["x", "third"], ["a"], axis=0),
            node("Gather", ["x", "first"], ["b"], axis=0),
            node("Tanh", ["a"], ["c"]),
            node("Concat", ["c", "b"], ["y"], axis=0),
        ],
        1,
    ),
    "sum of two halves": ([split("a", "b"), node("Add", ["a", "b"], ["y"])], math.sqrt(2)),
    "mean of two halves": ([split("a", "b"), node("Mean", ["a", "b"], ["y"])], math.sqrt(0.5)),
    "difference of slices that overlap": (
        [
            sliced("x", "a", "zero", "zero", "three"),
            sliced("x", "b", "zero", "one", "four"),
            node("Tanh", ["b"], ["c"]),
            node("Sub", ["a", "c"], ["y"]),
        ],
        2,
    ),
    "coupling": (
        [split("a", "b"), node("Tanh", ["a"], ["f"]), node("Add", ["b", "f"], ["c"]), joined("a", "c")],
        GOLDEN,
    ),
    "in a skip": (
        [
            split("a", "b"),
            node("Tanh", ["a"], ["c"]),
            joined("c", "b", result="d"),
            node("Add", ["x", "d"], ["y"]),
        ],
        2,
    ),
}
WEIGHTS = {
    **ENDS,
    "double": np.array(2.0),
    "triple": np.array(3.0),
    "mixed": np.linspace(-0.5, 0.5, 12).reshape(4, 3),
    "nought": np.array(0.0),
    **numbers(even=[0, 2], odd=[1, 3]),
    "third": np.array(2),
    "first": np.array(0),
}


@pytest.mark.parametrize("name", CASES)
def test_the_constant_is_found(name: str) -> None:
    """And some points show that it is none less, to a quarter."""
    nodes, true = CASES[name]
    model = double_model(nodes, {"x": [4, 3]}, WEIGHTS)
    found = bound(model)
    seen = max(amplification(flat(model, {"x": [4, 3]}), 12, scale=scale) for scale in (1e-3, 1.0))
    assert 0.75 * true <= seen <= found * (1 + 1e-6)
    assert true * (1 - 1e-9) <= found <= true * (1 + EXACT)


def test_extremes_along_an_axis_that_one_of_them_keeps():
    """Axis 1 of one is axis 0 of the other: a line and a column of equal tensors have an entry in common."""
    model = double_model(
        [
            node("ReduceMax", ["x", "zero"], ["a"], keepdims=1),
            node("ReduceMax", ["x", "zero"], ["b"], keepdims=0),
            sliced("a", "line", "one", "zero", "one"),
            sliced("b", "column", "one", "one", "two"),
            node("Flatten", ["line"], ["l"], axis=0),
            node("Flatten", ["column"], ["c"], axis=0),
            joined("l", "c", axis=1),
        ],
        {"x": [2, 2, 2]},
        ENDS,
    )
    seen = amplification(flat(model, {"x": [2, 2, 2]}), 8)
    assert seen == pytest.approx(math.sqrt(2))
    assert seen <= bound(model) * (1 + 1e-6)


@pytest.mark.parametrize("start", [-5, -4, -3])
def test_a_slice_that_goes_backwards_from_before_the_first_entry(start: int):
    """Onnxruntime begins at the first one then, NumPy nowhere."""
    model = double_model(
        [node("Slice", ["x", "start", "end", "zero", "last"], ["a"]), joined("x", "a")],
        {"x": [4, 3]},
        {**ENDS, **numbers(start=[start], end=[-9])},
    )
    seen = amplification(flat(model, {"x": [4, 3]}), 12, points=1)
    assert seen == pytest.approx(math.sqrt(2))
    assert seen <= bound(model) * (1 + 1e-6)


class Sketch:
    """A random graph of functions that move [4, 3] by their parts: splits, slices, sums, sorted pairs."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.tensors = ["x"]

    def new(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: object) -> list[str]:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(node(op, list(inputs), names, **attributes))
        return names

    def constant(self, values: object) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values)
        return name

    def any(self) -> str:
        """One of the latest tensors, all of them [4, 3]."""
        return str(self.rng.choice(self.tensors[-4:]))

    def function(self, source: str) -> str:
        kind = self.rng.integers(6)
        if kind == 0:
            return self.new("Mul", [source, self.constant(self.rng.uniform(-1.5, 1.5))])[0]
        if kind == 1:
            return self.new("LeakyRelu", [source], alpha=float(self.rng.uniform(-1, 1)))[0]
        if kind == 2:
            return self.new("MatMul", [source, self.constant(self.rng.standard_normal((3, 3)) / 2)])[0]
        return self.new(("Relu", "Neg", "Tanh")[kind - 3], [source])[0]

    def parts(self, source: str) -> list[str]:
        """Two of two lines each."""
        kind = self.rng.integers(3)
        if kind == 0:
            return self.new("Split", [source], 2, axis=0, num_outputs=2)
        if kind == 1:
            starts = self.rng.integers(0, 3, 2)
            at = [[self.constant([k]) for k in (start, start + 2, 0)] for start in starts]
            return [self.new("Slice", [source, *ends])[0] for ends in at]
        return [self.new("Gather", [source, self.constant(self.rng.integers(0, 4, 2))])[0] for _ in "ab"]

    def grow(self) -> None:
        kind = self.rng.integers(5)
        source = self.any()
        if kind == 0:
            self.tensors.append(self.function(source))
        elif kind == 1:
            self.tensors += self.new(self.rng.choice(["Add", "Sub", "Mean"]), [source, self.any()])
        elif kind == 2:
            pair = [source, self.any()]
            self.tensors += self.new("Max", pair) + self.new("Min", pair[::-1])
        else:
            a, b = self.parts(source)
            if kind == 3:
                a, b = self.new("Max", [a, b])[0], self.new("Min", [a, b])[0]
            a = self.function(a)
            if self.rng.random() < 0.5:
                b = self.new("Add", [b, self.function(a)])[0]
            self.tensors += self.new("Concat", [a, b], axis=0)

    def model(self) -> ModelProto:
        for _ in range(int(self.rng.integers(2, 7))):
            self.grow()
        whole = self.new("Concat", dict.fromkeys(self.tensors[-3:]), axis=0)
        return double_model(self.nodes, {"x": [4, 3]}, self.weights, whole)


@pytest.mark.parametrize("seed", one_in(8, range(200)))
def test_no_jacobian_exceeds_the_bound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one number for each tensor never shows less."""
    model = Sketch(seed).model()
    found = bound(model)
    function = flat(model, {"x": [4, 3]})
    seen = max(amplification(function, 12, seed, points=3, scale=scale) for scale in (0.02, 1.0))
    assert seen <= found * (1 + 1e-6)
    monkeypatch.setattr(Paths, "bound", lambda *arguments: arguments[-1])
    assert found <= bound(model) * (1 + 1e-12)


@dataclass(frozen=True, kw_only=True)
class Padded:
    """A convolution after circular padding, by Pad or by Slices.

    Attributes:
        shape: of the image.
        weight: [2, 2, *kernel].
        lattice: strides and dilations.
        plain: whether results are no more than those of one on a torus, and as far from each other.
    """

    model: ModelProto
    shape: list[int]
    weight: np.ndarray
    lattice: dict[str, list[int]]
    plain: bool


@st.composite
def padded_convolutions(draw: st.DrawFn) -> Padded:
    shape, taps, pads, strides, dilations, plain = [1, 2], [], [], [], [], True
    for _ in range(2):
        size, dilation, kernel = draw(st.integers(2, 5)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
        reach, stride = dilation * (kernel - 1), draw(st.integers(1, 2))
        before, after = (draw(st.integers(0, min(size, reach + 1))) for _ in range(2))
        assume(size + before + after > reach)
        plain &= before + after <= reach and size % stride == 0
        shape, taps, strides = [*shape, size], [*taps, kernel], [*strides, stride]
        pads, dilations = [*pads, (before, after)], [*dilations, dilation]
    weight = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((2, 2, *taps))
    nodes, constants = by_slices(shape, pads) if draw(st.booleans()) else by_pad(pads)
    lattice = {"strides": strides, "dilations": dilations}
    last = node("Conv", [nodes[-1].output[0], "k"], ["y"], **lattice)
    model = double_model([*nodes, last], {"x": shape}, {**constants, "k": weight})
    return Padded(model=model, shape=shape, weight=weight, lattice=lattice, plain=plain)


def by_pad(pads: Sequence[tuple[int, int]]) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    ends = [0, 0, *(p[0] for p in pads), 0, 0, *(p[1] for p in pads)]
    return [node("Pad", ["x", "pads"], ["p"], mode="wrap")], numbers(pads=ends)


def by_slices(
    shape: Sequence[int], pads: Sequence[tuple[int, int]]
) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    source, nodes, constants = "x", [], numbers(a2=[2], a3=[3])
    for axis, (before, after) in zip((2, 3), pads, strict=True):
        ends = {"b": (shape[axis] - before, shape[axis]), "a": (0, after)}
        for side, (start, end) in ends.items():
            constants |= numbers(**{f"{side}{axis}_0": [start], f"{side}{axis}_1": [end]})
            name = f"{side}{axis}"
            nodes.append(sliced(source, f"{name}_s", f"a{axis}", f"{name}_0", f"{name}_1"))
        nodes.append(joined(f"b{axis}_s", source, f"a{axis}_s", axis=axis, result=f"p{axis}"))
        source = f"p{axis}"
    return nodes, constants


@given(case=padded_convolutions())
@settings(max_examples=25)
def test_a_convolution_after_circular_padding(case: Padded) -> None:
    """Never less than its norm; on a torus, no more than that of the kernel, however it is padded."""
    found = by_rules(case.model).lipschitz
    function = flat(case.model, {"x": case.shape})
    assert amplification(function, math.prod(case.shape), points=1) <= found * (1 + 1e-6)
    if case.plain:
        alone = node("Conv", ["x", "k"], ["y"], **case.lattice)
        without = double_model([alone], {"x": [1, 2, 9, 9]}, {"k": case.weight})
        assert found <= by_rules(without).lipschitz * (1 + 2e-3)
