"""Graphs made to get a bound below what onnxruntime does, or a claim where there is none to make."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import convsv_cli
from convsv_cli.numerics.rounding import times
from convsv_cli.report import BOUNDED, UNBOUNDED, UNKNOWN, NetworkBound
from tests.support import runtime

Bound = Callable[..., NetworkBound]
node = helper.make_node


def built(
    nodes: Sequence[NodeProto],
    weights: Mapping[str, np.ndarray],
    shape: Sequence[int | str],
    *,
    kind: int = TensorProto.FLOAT,
    output: onnx.ValueInfoProto | None = None,
    opset: int = 18,
) -> ModelProto:
    """From one input x to one output y."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [output or helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def ratio(model: ModelProto, x: np.ndarray, y: np.ndarray) -> float:
    session = runtime.session(model)
    ends = [session.run(None, {"x": point})[0].astype(np.float64) for point in (x, y)]
    change = float(np.linalg.norm((ends[1] - ends[0]).ravel()))
    return change / float(np.linalg.norm((y.astype(np.float64) - x).ravel()))


def single(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.fixture
def bound(tmp_path: Path) -> Bound:
    def of(model: ModelProto, input_range: tuple[float, float] | None = None) -> NetworkBound:
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return convsv_cli.audit(path, input_range=input_range).bound

    return of


@pytest.mark.parametrize("factors", [(100.0, 1.0), (1.0, 100.0)])
def test_bodies_of_nodes_without_names_are_told_apart(bound: Bound, factors: tuple[float, float]) -> None:
    nodes = []
    for source, result, factor in zip("xa", "ay", factors, strict=True):
        body = helper.make_graph(
            [node("MatMul", [source, "w"], ["o"])],
            "body",
            [],
            [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.float32(factor) * np.eye(2, dtype=np.float32), "w")],
        )
        nodes.append(node("If", ["c"], [result], then_branch=body, else_branch=body))
    model = built(nodes, {"c": np.array(True)}, [1, 2])
    seen = ratio(model, single(0, 0)[None], single(1, 0)[None])
    assert seen == pytest.approx(100)
    assert seen <= bound(model).lipschitz * (1 + 1e-6)


def test_where_the_largest_entry_is_is_in_no_range_of_entries(bound: Bound) -> None:
    nodes = [
        node("TopK", ["x", "k"], ["v", "i"]),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        node("Clip", ["f", "low", "high"], ["y"]),
    ]
    weights = {"k": np.array([3]), "low": np.float32(0.9), "high": np.float32(5)}
    model = built(nodes, {name: np.asarray(values) for name, values in weights.items()}, [3])
    assert ratio(model, single(0.1, 0.2, 0.3), single(0.3, 0.2, 0.1)) > 5
    assert bound(model, (0.0, 0.5)).status == UNBOUNDED


def test_chance_has_no_bound_even_where_it_takes_no_input(bound: Bound) -> None:
    body = helper.make_graph(
        [node("RandomNormal", [], ["o"], shape=[2])],
        "body",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
    )
    for draw in (
        node("RandomUniform", [], ["r"], shape=[2]),
        node("If", ["c"], ["r"], then_branch=body, else_branch=body),
    ):
        found = bound(built([draw, node("Add", ["x", "r"], ["y"])], {"c": np.array(True)}, [2]))
        assert found.status == UNBOUNDED
        assert "random" in found.obstacles[0].reason


def test_declared_shapes_that_runtimes_ignore_hide_no_copies(bound: Bound) -> None:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])
    nodes, weights = [node("Add", ["x", "c"], ["y"])], {"c": np.zeros((1, 100), np.float32)}
    model = built(nodes, weights, [1, 1], output=output)
    assert ratio(model, single(0)[None], single(1)[None]) <= bound(model).lipschitz == 10


def test_squares_and_products_that_underflow_are_not_nothing(bound: Bound) -> None:
    nodes = [node("Mul", ["x", "c"], ["a"]), node("Mul", ["a", "d"], ["y"])]
    weights = {"c": np.full(2, 1e-170), "d": np.array([1e170])}
    model = built(nodes, weights, [1], kind=TensorProto.DOUBLE)
    seen = ratio(model, np.zeros(1), np.ones(1))
    assert seen == pytest.approx(np.sqrt(2))
    assert seen <= bound(model).lipschitz
    assert times(1e-200, 1e-200) > 0


def test_batch_norm_with_outputs_that_nobody_uses_is_in_training(bound: Bound) -> None:
    """Before opset 14; onnxruntime normalizes by the batch then."""
    weights = {"s": single(1, 1), "b": single(0, 0), "m": single(0, 0), "v": single(100, 100)}
    batch_norm = node("BatchNormalization", ["x", *weights], ["y", "o1", "o2", "o3", "o4"])
    assert bound(built([batch_norm], weights, [3, 2], opset=9)).status == UNBOUNDED


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        ([node("Div", ["x", "c"], ["y"])], [1]),
        ([node("Mean", ["x", "c", "c"], ["y"])], [1]),
        ([node("GlobalAveragePool", ["x"], ["y"])], [1, 1, 3, 3]),
    ],
)
def test_a_third_is_rounded_up(bound: Bound, nodes: list[NodeProto], shape: list[int]) -> None:
    assert Fraction(1, 3) <= Fraction(bound(built(nodes, {"c": single(3)}, shape)).lipschitz)


def test_slopes_that_repeat_the_input_are_not_overlooked(bound: Bound) -> None:
    model = built([node("PRelu", ["x", "s"], ["y"])], {"s": np.full((1, 100), 0.9, np.float32)}, [1, 1])
    assert ratio(model, single(-1)[None], single(-2)[None]) > 8
    assert bound(model).status == UNBOUNDED


def test_products_with_vectors_have_bounds_over_a_range(bound: Bound) -> None:
    model = built([node("MatMul", ["x", "c"], ["a"]), node("Exp", ["a"], ["y"])], {"c": single(1, -2)}, [2])
    found = bound(model, (0.0, 1.0))
    assert np.e * np.sqrt(5) <= found.lipschitz < np.e * np.sqrt(5) * (1 + 1e-5)
    nodes = [node("MatMul", ["c", "x"], ["a"]), node("Exp", ["a"], ["y"])]
    model = built(nodes, {"c": single(1, -2)}, [2, 3])
    assert bound(model, (0.0, 1.0)).lipschitz == pytest.approx(found.lipschitz)


def test_an_axis_of_unknown_length_may_be_stretched_by_einsum(bound: Bound) -> None:
    nodes = [node("Einsum", ["x", "c"], ["y"], equation="ij,jk->ik")]
    model = built(nodes, {"c": np.ones((4, 1), np.float32)}, [1, "J"])
    assert ratio(model, single(0)[None], single(1)[None]) == 4
    assert bound(model).status == UNBOUNDED


def test_an_identity_of_another_domain_is_none(bound: Bound) -> None:
    nodes = [node("Identity", ["c"], ["d"], domain="com.example"), node("MatMul", ["x", "d"], ["y"])]
    assert bound(built(nodes, {"c": np.eye(2, dtype=np.float32)}, [1, 2])).status == UNBOUNDED


def as_output(name: str) -> list[NodeProto]:
    """The shape of a tensor, as real numbers."""
    return [node("Shape", [name], ["sizes"]), node("Cast", ["sizes"], ["y"], to=TensorProto.FLOAT)]


def test_shapes_that_real_numbers_decide_vary(bound: Bound) -> None:
    weights = {"image": np.ones((1, 1, 2, 2), np.float32), "zero": np.float32(0), "one": np.float32(1)}
    stored = {name: np.asarray(values) for name, values in weights.items()}
    resize = built([node("Resize", ["image", "", "x"], ["r"]), *as_output("r")], stored, [4])
    counting = [node("ReduceSum", ["x"], ["t"], keepdims=0), node("Range", ["zero", "t", "one"], ["r"])]
    foreign = built([node("Some", ["x"], ["r"], domain="com.example"), *as_output("r")], {}, [4])
    assert ratio(resize, single(1, 1, 1, 1), single(1, 1, 3, 3)) > 1
    for model in (resize, built([*counting, *as_output("r")], stored, [2]), foreign):
        assert bound(model).status == UNBOUNDED


def test_operands_are_aligned_by_their_axis_before_opset_7(bound: Bound) -> None:
    nodes = [node("Add", ["b", "x"], ["y"], broadcast=1, axis=1)]
    model = built(nodes, {"b": np.zeros((1, 2, 2, 100), np.float32)}, [2], opset=6)
    assert bound(model).lipschitz == pytest.approx(math.sqrt(200))  # each entry of x is there 200 times


def test_dropout_drops_unless_told_before_opset_7(bound: Bound) -> None:
    for told, status in ((0, UNBOUNDED), (1, BOUNDED)):
        nodes = [node("Dropout", ["x"], ["a"], is_test=told), node("Relu", ["a"], ["y"])]
        model = built(nodes, {}, [2], opset=6)
        assert bound(model).status == status


def test_what_is_not_compared_is_said(bound: Bound) -> None:
    """Indices as the only input or output leave nothing to bound; 0 would be a claim."""
    whole = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    labels = bound(built([node("ArgMax", ["x"], ["y"])], {}, [4], output=whole))
    real = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    look_up = [node("Gather", ["table", "x"], ["y"])]
    table = {"table": np.ones((5, 3), np.float32)}
    words = bound(built(look_up, table, [4], kind=TensorProto.INT64, output=real))
    assert [labels.status, words.status] == [UNKNOWN, UNKNOWN]
    assert "output" in labels.reason
    assert "input" in words.reason
    both = built([node("ArgMax", ["x"], ["i"]), node("Relu", ["x"], ["y"])], {}, [4])
    both.graph.output.append(helper.make_tensor_value_info("i", TensorProto.INT64, None))
    assert any("output" in line and "'i'" in line and "int64" in line for line in bound(both).left_out)


def test_the_default_epsilon_is_of_single_precision(bound: Bound) -> None:
    """Folded away or not: it is a little less than 1e-5."""
    weights = {"s": np.ones(1), "b": np.zeros(1), "m": np.zeros(1), "v": np.zeros(1)}
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("BatchNormalization", ["a", *weights], ["y"])]
    model = built(nodes, {"w": np.ones((1, 1)), **weights}, [1, 1], kind=TensorProto.DOUBLE)
    assert ratio(model, np.zeros((1, 1)), np.ones((1, 1))) <= bound(model).lipschitz


@pytest.mark.parametrize("count", [4, 30])
def test_gates_in_a_row_have_the_bound_of_each(bound: Bound, count: int) -> None:
    """Together they are a function that the search gives up on; one by one they are not."""
    names = ["x", *(f"t{i}" for i in range(1, count)), "y"]
    nodes = []
    for source, result in pairwise(names):
        gate = f"{result}.gate"
        nodes += [node("Sigmoid", [source], [gate]), node("Mul", [source, gate], [result])]
    assert bound(built(nodes, {}, [8])).lipschitz <= 1.0999**count


def test_shapes_that_a_file_says_results_in_bodies_have(bound: Bound) -> None:
    """A mean of one entry, said to be of a hundred: runtimes go by what is computed."""
    body = helper.make_graph(
        [node("Compress", ["x", "kept"], ["c"], axis=0), node("ReduceMean", ["c"], ["y"], keepdims=0)],
        "body",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
        value_info=[helper.make_tensor_value_info("c", TensorProto.FLOAT, [100])],
    )
    taken = node("If", ["always"], ["z"], then_branch=body, else_branch=body)
    weights = {"kept": np.array([True, False, False, False]), "always": np.array(True)}
    model = built([taken], weights, [4], output=helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    seen = ratio(model, single(0, 0, 0, 0), single(1, 0, 0, 0))
    assert seen == pytest.approx(1.0)
    assert bound(model).lipschitz >= seen


def test_lengths_across_samples_that_are_reversed_apart(bound: Bound) -> None:
    """Each time's probabilities over samples add up to 1, those of several times do not."""
    nodes = [
        node("Slice", ["x", "zero", "two"], ["scores"]),
        node("Mul", ["scores", "steep"], ["steeper"]),
        node("Softmax", ["steeper"], ["shares"], axis=1),
        node("ReverseSequence", ["shares", "times"], ["mixed"], time_axis=0, batch_axis=1),
        node("Slice", ["mixed", "zero", "one"], ["first"]),
        node("Slice", ["x", "two", "three"], ["last"]),
        node("Clip", ["last", "down", "up"], ["small"]),
        node("Transpose", ["small"], ["column"]),
        node("MatMul", ["first", "column"], ["y"]),
    ]
    places = {name: np.array([i]) for i, name in enumerate(("zero", "one", "two", "three"))}
    limits = {"steep": np.float32(20), "down": np.float32(-1e-3), "up": np.float32(1e-3)}
    model = built(nodes, {**places, **limits, "times": np.array([1, 2, 2])}, [3, 3])
    start = single(1, -1, -1, -1, 1, -1, 0, 0, 0).reshape(3, 3)
    seen = ratio(model, start, start + single(0, 0, 0, 0, 0, 0, 1e-3, 1e-3, 0).reshape(3, 3))
    assert seen == pytest.approx(math.sqrt(2))
    assert seen <= bound(model, (-1.0, 1.0)).lipschitz < 2 * seen


@pytest.mark.parametrize("start", [-9, -3, -2, 1, 9])
@pytest.mark.parametrize("end", [-9, 0])
def test_a_constant_that_is_sliced_backwards(bound: Bound, start: int, end: int) -> None:
    """From before its first entry, onnxruntime takes that one, and NumPy none."""
    nodes = [node("Slice", ["c", "start", "end", "axis", "back"], ["k"]), node("Mul", ["x", "k"], ["y"])]
    places = {name: np.array([i]) for name, i in (("start", start), ("end", end), ("axis", 0), ("back", -1))}
    model = built(nodes, {**places, "c": single(3, 4, 5)}, [1])
    seen = ratio(model, single(0), single(1))
    assert seen == pytest.approx(bound(model).lipschitz)
