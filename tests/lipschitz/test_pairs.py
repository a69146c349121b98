"""Bounds from one tensor to another hold, fit together, and never say more than the joint one may."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from convsv_cli.lipschitz.dependencies import bottlenecks, relevant
from convsv_cli.lipschitz.ends import Ends
from convsv_cli.lipschitz.pairs import MOST
from convsv_cli.report import BOUNDED, NORMAL, UNBOUNDED, UNKNOWN, NetworkBound
from tests.support.sensitivity import double_model, flat, jacobian, network
from tests.support.whole_bounds import bounded, by_rules

GRAPHS = range(100)
SOME = [range(0, 100, 11), pytest.param(GRAPHS[::3], id="all", marks=pytest.mark.exhaustive)]
BOX = (-1.5, 1.0)
CLOSE = 1e-6
NORMS = 1e-6
"""Relative width of norms of matrices, which are found anew for each part."""
node = helper.make_node


class Drawn:
    """A graph of vectors with 2 or 3 inputs and outputs; in every other one, all of it passes one tensor."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list = []
        self.weights: dict[str, np.ndarray] = {}
        self.inputs = {f"x{i}": [1, int(self.rng.integers(1, 4))] for i in range(self.rng.integers(2, 4))}
        self.sizes = {name: shape[1] for name, shape in self.inputs.items()}
        tensors = [self.step([name]) for name in self.inputs]
        for _ in range(self.rng.integers(1, 4)):
            tensors.append(self.step(tensors))
        if seed % 2:
            tensors = [self.node("Concat", tensors, sum(self.sizes[name] for name in tensors), axis=1)]
            tensors = [self.node("Relu", tensors, self.sizes[tensors[0]])]
        for _ in range(self.rng.integers(0, 3)):
            tensors.append(self.step(tensors))
        self.outputs = list(dict.fromkeys(self.step(tensors) for _ in range(self.rng.integers(2, 4))))
        self.model = double_model(self.nodes, self.inputs, self.weights, self.outputs)

    def node(self, op: str, inputs: list[str], size: int, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(node(op, inputs, [name], name=name, **attributes))
        self.sizes[name] = size
        return name

    def step(self, tensors: list[str]) -> str:
        """A linear map of a tensor or a function of it, or a sum or product of two of these."""
        tensor = tensors[self.rng.integers(len(tensors))]
        kind = self.rng.integers(6)
        if kind < 2:
            return self.mapped(tensor, int(self.rng.integers(1, 4)))
        if kind == 2:
            return self.node(
                str(self.rng.choice(["Relu", "Tanh", "Neg", "Abs"])), [tensor], self.sizes[tensor]
            )
        other = self.mapped(tensors[self.rng.integers(len(tensors))], self.sizes[tensor])
        if kind < 5:
            return self.node(str(self.rng.choice(["Add", "Sub"])), [tensor, other], self.sizes[tensor])
        gates = [self.node("Sigmoid", [name], self.sizes[tensor]) for name in (tensor, other)]
        return self.node("Mul", gates, self.sizes[tensor])

    def mapped(self, tensor: str, size: int) -> str:
        weight = f"w{len(self.weights)}"
        self.weights[weight] = self.rng.standard_normal((self.sizes[tensor], size))
        return self.node("MatMul", [tensor, weight], size)

    def jacobians(self, box: tuple[float, float]) -> list[np.ndarray]:
        """At some points of a box."""
        function, size = flat(self.model, self.inputs), sum(shape[1] for shape in self.inputs.values())
        return [jacobian(function, self.rng.uniform(*box, size)) for _ in range(5)]

    def blocks(self, whole: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        """Of a Jacobian: one for each input and output."""
        columns = np.split(whole, np.cumsum([shape[1] for shape in self.inputs.values()])[:-1], axis=1)
        found = {}
        for start, part in zip(self.inputs, columns, strict=True):
            rows = np.split(part, np.cumsum([self.sizes[name] for name in self.outputs])[:-1], axis=0)
            found |= {(start, end): block for end, block in zip(self.outputs, rows, strict=True)}
        return found


@cache
def drawn(seed: int) -> tuple[Drawn, NetworkBound]:
    case = Drawn(seed)
    return case, bounded(case.model)


def table(case: Drawn, bound: NetworkBound) -> np.ndarray:
    """[outputs, inputs]."""
    entries = {(pair.start, pair.end): pair.lipschitz for pair in bound.pairs}
    return np.array([[entries[start, end] for start in case.inputs] for end in case.outputs])


@pytest.mark.parametrize("seeds", SOME)
def test_every_entry_holds_and_the_joint_bound_is_no_larger_than_their_norm(seeds: range) -> None:
    for seed in seeds:
        case, bound = drawn(seed)
        assert bound.status == BOUNDED
        assert bound.lipschitz <= np.linalg.norm(table(case, bound), 2) * (1 + 1e-9)
        entries = {(pair.start, pair.end): pair.lipschitz for pair in bound.pairs}
        for whole in case.jacobians((-2.0, 2.0)):
            assert np.linalg.norm(whole, 2) <= bound.lipschitz * (1 + CLOSE) + CLOSE
            for pair, block in case.blocks(whole).items():
                assert np.linalg.norm(block, 2) <= entries[pair] * (1 + CLOSE) + CLOSE


@pytest.mark.parametrize("seeds", SOME)
def test_every_entry_holds_in_a_box_for_whatever_the_other_inputs_are_in_it(seeds: range) -> None:
    for seed in seeds:
        case, everywhere = drawn(seed)
        bound = bounded(case.model, BOX)
        assert bound.lipschitz <= everywhere.lipschitz * (1 + 1e-9)
        entries = {(pair.start, pair.end): pair.lipschitz for pair in bound.pairs}
        for whole in case.jacobians(BOX):
            for pair, block in case.blocks(whole).items():
                assert np.linalg.norm(block, 2) <= entries[pair] * (1 + CLOSE) + CLOSE


@pytest.mark.parametrize("seeds", SOME)
def test_at_a_bottleneck_the_parts_multiply_to_no_less_than_the_whole(seeds: range) -> None:
    """By the rules, which do not search: a search may find more in a part than in the whole."""
    parted = 0
    for seed in filter(lambda seed: seed % 2, seeds):
        model = drawn(seed)[0].model
        graph, whole = network(model).graph, by_rules(model)
        assert graph is not None
        for tensor in sorted(bottlenecks(graph, relevant(graph)))[:2]:
            parts = (Ends(targets=(tensor,)), Ends(sources=(tensor,)))
            before, after = (by_rules(model, ends=ends) for ends in parts)
            assert before.lipschitz * after.lipschitz >= whole.lipschitz * (1 - NORMS)
            parted += 1
    assert parted >= len(seeds) // 2


@pytest.mark.parametrize("seed", range(3))
def test_searches_hold_and_are_no_larger_than_the_norm(seed: int) -> None:
    case, known = drawn(seed)
    bound = bounded(case.model, level=NORMAL)
    assert bound.lipschitz <= known.lipschitz * (1 + NORMS)
    assert bound.lipschitz <= np.linalg.norm(table(case, bound), 2) * (1 + 1e-9)
    start, end = next(iter(case.inputs)), case.outputs[0]
    alone = bounded(case.model, level=NORMAL, ends=Ends(sources=(start,), targets=(end,)))
    for whole in case.jacobians((-2.0, 2.0)):
        assert np.linalg.norm(whole, 2) <= bound.lipschitz * (1 + CLOSE) + CLOSE
        assert np.linalg.norm(case.blocks(whole)[start, end], 2) <= alone.lipschitz * (1 + CLOSE) + CLOSE


@pytest.mark.parametrize("seed", range(0, 20, 4))
def test_a_pair_alone_is_what_the_table_says_or_less(seed: int) -> None:
    case, bound = drawn(seed)
    for pair in bound.pairs:
        alone = bounded(case.model, ends=Ends(sources=(pair.start,), targets=(pair.end,)))
        assert alone.pairs == ()
        assert alone.lipschitz <= pair.lipschitz * (1 + 1e-9)


def two_inputs(*nodes: object, weights: dict[str, np.ndarray] | None = None, **fields: object) -> ModelProto:
    return double_model(list(nodes), {"a": [1, 3], "b": [1, 3]}, weights or {}, **fields)


def test_a_sum_of_two_inputs_has_the_root_of_two() -> None:
    bound = bounded(two_inputs(node("Add", ["a", "b"], ["y"])))
    assert bound.lipschitz == pytest.approx(math.sqrt(2), rel=1e-12)
    assert [pair.lipschitz for pair in bound.pairs] == [1.0, 1.0]


def test_disjoint_parts_have_the_larger_of_both() -> None:
    weights = {"v": 2 * np.eye(3), "w": 3 * np.eye(3)}
    nodes = [node("MatMul", ["a", "v"], ["y"]), node("MatMul", ["b", "w"], ["z"])]
    bound = bounded(two_inputs(*nodes, weights=weights, outputs=("y", "z")))
    assert bound.lipschitz == pytest.approx(3, rel=1e-6)
    zero = [(pair.start, pair.end) for pair in bound.pairs if pair.lipschitz == 0]
    assert zero == [("a", "z"), ("b", "y")]
    assert all("does not depend" in pair.reason for pair in bound.pairs if pair.lipschitz == 0)


def test_a_product_has_bounds_only_where_the_other_factor_is_known() -> None:
    model = two_inputs(node("Mul", ["a", "b"], ["y"], name="gate"))
    free, boxed = bounded(model), bounded(model, (-2.0, 1.0))
    assert free.status == UNBOUNDED
    assert all(math.isinf(pair.lipschitz) and "gate (Mul)" in pair.reason for pair in free.pairs)
    assert [pair.lipschitz for pair in boxed.pairs] == [2.0, 2.0]
    assert boxed.lipschitz == pytest.approx(math.sqrt(8), rel=1e-12)


def test_what_is_held_fixed_is_in_its_range_behind_further_operators() -> None:
    """The gate's range is known though nothing moves it."""
    model = two_inputs(node("Sigmoid", ["b"], ["g"]), node("Mul", ["a", "g"], ["y"]))
    bound = bounded(model, ends=Ends(sources=("a",)))
    assert bound.status == BOUNDED
    assert 1 <= bound.lipschitz <= 1 + 1e-9
    assert any("only 'a' is perturbed" in line for line in bound.left_out)


def test_a_part_that_begins_inside_knows_what_the_network_makes_of_the_range() -> None:
    """Squares of t are bounded only where t is, which the range of the inputs tells."""
    model = two_inputs(
        node("Add", ["a", "b"], ["t"]),
        node("Concat", ["t", "t"], ["c"], axis=1),
        node("Mul", ["c", "c"], ["y"]),
    )
    ends = Ends(sources=("t",))
    assert bounded(model, ends=ends).status == UNBOUNDED
    bound = bounded(model, (0.0, 2.0), ends=ends)  # t is in [0, 4], so that the slope of each square is 8
    assert 8 * math.sqrt(2) <= bound.lipschitz <= 8 * math.sqrt(2) * (1 + 1e-6)
    assert any("'t' stays between" in line for line in bound.assumptions)


def test_integers_are_left_out_with_the_reason_and_a_hint() -> None:
    words = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 4])
    model = double_model(
        [node("Gather", ["table", "ids"], ["e"]), node("Tanh", ["e"], ["y"]), node("ArgMax", ["y"], ["k"])],
        {},
        {"table": np.eye(3)},
        outputs=("y",),
    )
    model.graph.input.append(words)
    model.graph.output.append(helper.make_tensor_value_info("k", TensorProto.INT64, None))
    blind = bounded(model)
    assert blind.status == UNKNOWN
    assert "--from 'e'" in blind.reason
    bound = bounded(model, ends=Ends(sources=("e",)))
    assert (bound.status, bound.lipschitz) == (BOUNDED, 1.0)
    assert any("'k'" in line and "int64" in line for line in bound.left_out)


def test_what_does_not_depend_on_the_start_is_0_and_said_so() -> None:
    model = two_inputs(node("Tanh", ["a"], ["y"]), node("Tanh", ["b"], ["z"]), outputs=("y", "z"))
    bound = bounded(model, ends=Ends(sources=("a",), targets=("z",)))
    assert (bound.status, bound.lipschitz) == (BOUNDED, 0.0)
    assert any("'z' does not depend on 'a'" in line for line in bound.left_out)


def test_pairs_are_bounded_up_to_a_number_that_is_said() -> None:
    count = MOST // 2 + 1
    nodes = [node("Add", ["a", "b"], ["t"]), *(node("Neg", ["t"], [f"y{i}"]) for i in range(count))]
    bound = bounded(two_inputs(*nodes, outputs=tuple(f"y{i}" for i in range(count))))
    assert len(bound.pairs) == MOST
    assert any(f"{MOST} of {2 * count}" in line for line in bound.left_out)
