"""Bounds of graphs: where branches meet, what has no bound, and the pieces that everything passes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from convsv_cli.lipschitz.dependencies import bottlenecks, relevant
from convsv_cli.lipschitz.rules import _merged, merge
from convsv_cli.numerics.intervals import Range
from tests.support.sensitivity import amplification, bound, composed, double_model, flat, network

node = helper.make_node
SLACK = 1 + 1e-9


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def assert_sharp(nodes, inputs, weights, outputs=("y",)) -> float:
    """The bound of a linear graph is its norm."""
    model = double_model(nodes, inputs, weights, outputs)
    size = sum(int(np.prod(shape)) for shape in inputs.values())
    seen = amplification(flat(model, inputs), size, points=1)
    proven = bound(model)
    assert seen <= proven * (1 + 1e-7)
    assert proven == pytest.approx(seen, rel=2e-4)
    return proven


def test_a_sum_of_two_copies_is_twice_as_large() -> None:
    assert assert_sharp([node("Add", ["x", "x"], ["y"])], {"x": [2, 3]}, {}) == pytest.approx(2)


def test_a_skip_adds_one() -> None:
    """Planted elsewhere: Add as max."""
    nodes = [node("MatMul", ["x", "w"], ["z"]), node("Add", ["x", "z"], ["y"])]
    assert_sharp(nodes, {"x": [1, 4]}, {"w": 3 * np.eye(4)})


def test_a_difference_counts_like_a_sum() -> None:
    nodes = [node("Neg", ["x"], ["z"]), node("Sub", ["x", "z"], ["y"])]
    model = double_model(nodes, {"x": [3]}, {})
    assert bound(model) == pytest.approx(2)


@pytest.mark.parametrize("op", ["Add", "Sub", "Sum", "Mul", "Div"])
@given(data=st.data())
@settings(max_examples=60)
def test_broadcasting_against_constants(op: str, data: st.DataObject) -> None:
    """Copies of the varying operand all count."""
    full = [data.draw(st.integers(1, 3)) for _ in range(3)]
    shapes = []
    for _ in range(2):
        axes = data.draw(st.integers(0, 3))
        shapes.append([size if data.draw(st.booleans()) else 1 for size in full[axes:]])
    constant = normal(*shapes[1], seed=data.draw(st.integers(0, 9))) + 3
    order = ["x", "c"] if op == "Div" or data.draw(st.booleans()) else ["c", "x"]
    assert_sharp([node(op, order, ["y"])], {"x": shapes[0]}, {"c": constant})


@pytest.mark.parametrize("op", ["Add", "Sub", "Sum", "Max", "Min"])
def test_broadcasting_of_two_activations(op: str) -> None:
    inputs = {"a": [2, 1, 3], "b": [4, 1]}
    model = double_model([node(op, ["a", "b"], ["y"])], inputs, {})
    seen = amplification(flat(model, inputs), 10, points=20)
    assert seen <= bound(model) * SLACK


def test_a_mean_of_three() -> None:
    inputs = {"a": [3], "b": [3]}
    model = double_model([node("Mean", ["a", "b", "b"], ["y"])], inputs, {})
    assert amplification(flat(model, inputs), 6) <= bound(model) * SLACK
    assert bound(model) == pytest.approx(math.sqrt(5) / 3, rel=1e-3)


def test_the_larger_of_two_copies_of_different_inputs() -> None:
    """All three copies of one of them may be larger; the root of 3 + 1 needs both to move by 1."""
    inputs = {"a": [1], "b": [3]}
    model = double_model([node("Max", ["a", "b"], ["y"])], inputs, {})
    assert bound(model) == pytest.approx(math.sqrt(3))
    function = flat(model, inputs)
    assert amplification(lambda x: function(x + np.array([5, 0, 0, 0])), 4) == pytest.approx(math.sqrt(3))


def test_a_constant_condition_chooses_entries() -> None:
    condition = np.array([True, False, True])
    nodes = [node("Where", ["c", "a", "b"], ["y"])]
    model = double_model(nodes, {"a": [3], "b": [3]}, {"c": condition})
    assert 1 <= bound(model) <= math.sqrt(2) * SLACK


def test_products_of_activations_have_no_bound_and_are_all_named() -> None:
    nodes = [
        node("Mul", ["x", "z"], ["a"], name="gate"),
        node("MatMul", ["a", "x"], ["b"], name="attention"),
        node("Div", ["b", "x"], ["y"], name="quotient"),
    ]
    model = double_model(nodes, {"x": [3, 3], "z": [3, 3]}, {})
    found = composed(model)
    assert [offence.node.name for offence in found.offences] == ["gate", "attention", "quotient"]
    assert "product of two activations" in found.offences[0].reason
    assert bound(model) == math.inf


@pytest.mark.parametrize("op", ["Mul", "MatMul"])
@given(low=st.floats(-3, 3), width=st.floats(0, 3), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_products_are_bounded_in_a_box(op: str, low: float, width: float, seed: int) -> None:
    inputs = {"a": [2, 3], "b": [3, 3]} if op == "MatMul" else {"a": [2, 3], "b": [2, 1]}
    model = double_model([node(op, ["a", "b"], ["y"])], inputs, {})
    size = sum(int(np.prod(shape)) for shape in inputs.values())
    function, corner = flat(model, inputs), np.random.default_rng(seed).integers(0, 2, (3, size))
    proven = bound(model, Range(lower=low, upper=low + width))
    for x in low + width * corner:
        assert amplification(lambda d, x=x: function(x + d), size, points=1, scale=0) <= proven * SLACK + 1e-6


def test_a_quotient_is_bounded_away_from_zero() -> None:
    inputs = {"a": [3], "b": [3]}
    model = double_model([node("Div", ["a", "b"], ["y"])], inputs, {})
    assert bound(model, Range(lower=-1, upper=1)) == math.inf
    function = flat(model, inputs)
    proven = bound(model, Range(lower=0.5, upper=2))
    corner = np.array([2, 2, 2, 0.5, 0.5, 0.5])
    assert amplification(lambda d: function(corner + d), 6, scale=0) <= proven < 20


def test_an_unknown_operator_and_a_foreign_one() -> None:
    """Planted elsewhere: unknown as 1."""
    nodes = [
        node("Det", ["x"], ["z"], name="det"),
        node("Rotate", ["z"], ["y"], name="turn", domain="custom"),
    ]
    found = composed(double_model(nodes, {"x": [2, 2]}, {}))
    assert [(o.node.op, o.reason) for o in found.offences] == [
        ("Det", "no Lipschitz rule for this operator"),
        ("custom.Rotate", "no Lipschitz rule for this operator"),
    ]


def test_a_condition_that_varies() -> None:
    nodes = [node("Greater", ["x", "zero"], ["c"]), node("Where", ["c", "x", "zero"], ["y"], name="choice")]
    found = composed(double_model(nodes, {"x": [3]}, {"zero": np.zeros(1)}))
    assert [o.node.name for o in found.offences] == ["choice"]
    assert "varies with the network's input" in found.offences[0].reason


@pytest.mark.parametrize(
    ("equation", "shape"),
    [
        ("abc->cab", [2, 3, 4]),
        ("abc->b", [2, 3, 4]),
        ("ab->", [2, 3]),
        ("aa->a", [3, 3]),
        ("aab->b", [3, 3, 2]),
        ("a...b->b...", [3, 2, 2]),
        ("ba", [2, 3]),
        ("ii", [3, 3]),
    ],
)
def test_an_einsum_of_one_tensor(equation: str, shape: list[int]) -> None:
    """What a diagonal leaves out is not summed."""
    assert_sharp([node("Einsum", ["x"], ["y"], equation=equation)], {"x": shape}, {})


def test_an_einsum_that_does_not_fit() -> None:
    for equation, shape in (("aa->a", [2, 3]), ("abc->a", [2, 3]), ("a...->a", [2, 3])):
        model = double_model([node("Einsum", ["x"], ["y"], equation=equation)], {"x": shape}, {})
        assert [each.node.op for each in composed(model).offences] == ["Einsum"]


def branching(condition: str) -> list:
    def body(name: str, factor: str):
        return helper.make_graph(
            [node("MatMul", ["x", factor], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.DOUBLE, None)],
        )

    return [
        node("If", [condition], ["y"], then_branch=body("one", "small"), else_branch=body("two", "large"))
    ]


@pytest.mark.parametrize(("taken", "expected"), [(True, 2.0), (False, 3.0)])
def test_a_branch_that_is_known(taken: bool, expected: float) -> None:
    weights = {"small": 2 * np.eye(3), "large": 3 * np.eye(3), "c": np.array(taken)}
    assert bound(double_model(branching("c"), {"x": [1, 3]}, weights)) == pytest.approx(expected, rel=1e-3)


def test_a_branch_by_an_integer_input_is_the_worse_one() -> None:
    weights = {"small": 2 * np.eye(3), "large": 3 * np.eye(3), "rate": np.array(8000)}
    model = double_model([node("Equal", ["sr", "rate"], ["c"]), *branching("c")], {"x": [1, 3]}, weights)
    model.graph.input.append(helper.make_tensor_value_info("sr", TensorProto.INT64, []))
    assert bound(model) == pytest.approx(3, rel=1e-3)


def test_a_branch_by_what_varies() -> None:
    weights = {"small": 2 * np.eye(3), "large": 3 * np.eye(3), "zero": np.zeros(())}
    nodes = [node("Greater", ["s", "zero"], ["c"]), *branching("c")]
    found = composed(double_model(nodes, {"x": [1, 3], "s": []}, weights))
    assert [o.reason for o in found.offences] == ["which branch is taken varies with the input"]


def test_what_no_output_needs_is_no_offence() -> None:
    nodes = [node("Mul", ["x", "x"], ["unused"]), node("Add", ["x", "x"], ["y"])]
    assert composed(double_model(nodes, {"x": [2]}, {})).offences == ()


def test_bottlenecks_are_what_every_path_passes() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["a", "w"], ["b"]),
        node("MatMul", ["b", "w"], ["c"]),
        node("Add", ["a", "c"], ["d"]),
        node("MatMul", ["d", "w"], ["y"]),
    ]
    model = double_model(nodes, {"x": [2, 2]}, {"w": np.eye(2)})
    graph = network(model).graph
    assert bottlenecks(graph, relevant(graph)) == {"x", "a", "d", "y"}
    found = composed(model)
    ends = [(s.start, s.end, len(s.nodes)) for s in found.segments]
    assert ends == [("x", "a", 1), ("a", "d", 3), ("d", "y", 1)]


def test_many_paths_do_not_blow_up() -> None:
    """2^500 paths."""
    nodes = [node("Add", [f"t{i}", f"t{i}"], [f"s{i}"]) for i in range(500)]
    links = [node("Sub", [f"s{i}", f"t{i}"], [f"t{i + 1}"]) for i in range(500)]
    nodes = [each for pair in zip(nodes, links, strict=True) for each in pair]
    model = double_model(nodes, {"t0": [2]}, {}, ("t500",))
    assert math.log10(bound(model)) == pytest.approx(500 * math.log10(3))


def test_several_outputs_count_together() -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"]), node("Add", ["x", "x"], ["z"])]
    proven = bound(double_model(nodes, {"x": [1, 3]}, {"w": np.eye(3)}, ("y", "z")))
    assert proven == pytest.approx(math.sqrt(5), rel=1e-3)


def test_a_factor_without_a_bound_leaves_the_others() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Mul", ["a", "a"], ["b"]),
        node("MatMul", ["b", "w"], ["y"]),
    ]
    found = composed(double_model(nodes, {"x": [2, 2]}, {"w": 2 * np.eye(2)}))
    assert [s.factor < 2.01 for s in found.segments] == [True, False, True]


def test_no_operator_has_two_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convsv_cli.lipschitz.rules.FAMILIES", (merge.RULES, merge.RULES))
    with pytest.raises(ValueError, match="two Lipschitz rules"):
        _merged()


def test_attributes_that_are_none_are_an_offence_and_no_crash() -> None:
    nodes = [node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[0, 0], name="pool")]
    found = composed(double_model(nodes, {"x": [1, 1, 4, 4]}, {}))
    assert [o.node.name for o in found.offences] == ["pool"]


def test_shapes_do_not_vary_with_the_values() -> None:
    """A branch by the length of an input whose length is not known: one of both, and always the same."""
    weights = {"small": 2 * np.eye(3), "large": 3 * np.eye(3), "rate": np.array([8000])}
    nodes = [
        node("Transpose", ["s"], ["t"], perm=[0]),
        node("Shape", ["t"], ["length"]),
        node("Equal", ["length", "rate"], ["c"]),
        *branching("c"),
    ]
    model = double_model(nodes, {"x": [1, 3], "s": ["n"]}, weights)
    assert bound(model) == pytest.approx(3, rel=1e-3)


def test_the_number_of_nonzero_entries_varies() -> None:
    weights = {"small": 2 * np.eye(3), "large": 3 * np.eye(3), "one": np.array(1)}
    nodes = [
        node("NonZero", ["x"], ["z"]),
        node("Size", ["z"], ["count"]),
        node("Equal", ["count", "one"], ["c"]),
        *branching("c"),
    ]
    found = composed(double_model(nodes, {"x": [1, 3]}, weights))
    assert [o.reason for o in found.offences] == ["which branch is taken varies with the input"]
