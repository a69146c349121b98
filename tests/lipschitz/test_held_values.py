"""Inputs that are not real are held fixed: what their types and operators say of their values."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from convsv_cli.report import BOUNDED
from tests.support.backend_functions import Function
from tests.support.backend_models import Shipped, shipped
from tests.support.backend_pairs import exceeded
from tests.support.onnx_models import normal
from tests.support.whole_bounds import bounded

value, node = helper.make_tensor_value_info, helper.make_node
KINDS = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "UINT16": np.uint16}


def model(nodes: list[onnx.NodeProto], *inputs: onnx.ValueInfoProto, **stored: np.ndarray) -> onnx.ModelProto:
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()]
    made = helper.make_graph(nodes, "g", inputs, [value("y", TensorProto.FLOAT, None)], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scales", [(), (3,)], ids=["one scale", "a scale per channel"])
def test_scales_move_whole_numbers_by_no_more_than_the_largest_factor(kind: str, scales: tuple[int]) -> None:
    """The largest of the type at each place is the case that attains it."""
    x = value("x", TensorProto.DataType.Value(kind), (2, 3))
    s = value("s", TensorProto.FLOAT, scales)
    zero = np.full(scales, 5, KINDS[kind])
    found = bounded(model([node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=1)], x, s, z=zero))
    ends = np.iinfo(KINDS[kind])
    largest = max(ends.max - 5, 5 - ends.min)
    copies = 2 if scales else 6
    assert found.status == BOUNDED
    assert found.lipschitz == pytest.approx(largest * np.sqrt(copies), rel=1e-9)


def test_a_mask_that_is_held_is_at_most_one() -> None:
    x, mask = value("x", TensorProto.FLOAT, (4, 5)), value("m", TensorProto.BOOL, (4, 5))
    nodes = [node("Cast", ["m"], ["f"], to=TensorProto.FLOAT), node("Mul", ["x", "f"], ["y"])]
    assert bounded(model(nodes, x, mask)).lipschitz == pytest.approx(1.0)


def test_what_is_looked_up_of_constants_is_in_their_range() -> None:
    """An embedding of a class that is held scales the activations."""
    table = np.float32([[1, -2, 3], [0.5, 4, -5]])
    x, label = value("x", TensorProto.FLOAT, (7, 3)), value("i", TensorProto.INT64, (1,))
    nodes = [node("Gather", ["table", "i"], ["e"]), node("Mul", ["x", "e"], ["y"])]
    assert bounded(model(nodes, x, label, table=table)).lipschitz == pytest.approx(5.0)


@pytest.mark.parametrize("ones", [False, True])
def test_nothing_is_known_of_numbers_that_may_be_of_any_size(ones: bool) -> None:
    x, held = value("x", TensorProto.FLOAT, (2, 2)), value("i", TensorProto.INT32, (2, 2))
    nodes = [node("Cast", ["i"], ["f"], to=TensorProto.FLOAT), node("Exp", ["f"], ["e"])]
    nodes.append(node("Mul", ["x", "f" if ones else "e"], ["y"]))
    found = bounded(model(nodes, x, held))
    assert (found.status == BOUNDED) == ones
    if ones:
        assert found.lipschitz == pytest.approx(2.0**31)


@pytest.mark.parametrize("op", ["Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("negated", [False, True])
def test_a_choice_by_a_comparison_of_both_is_the_larger_or_the_smaller(
    op: str, swapped: bool, negated: bool
) -> None:
    a, b = value("a", TensorProto.FLOAT, (3, 4)), value("b", TensorProto.FLOAT, (3, 4))
    chosen = ["b", "a"] if swapped else ["a", "b"]
    nodes = [node(op, ["a", "b"], ["c"]), node("Not", ["c"], ["n"])]
    nodes += [node("MatMul", ["a", "w"], ["h"]), node("Where", ["n" if negated else "c", *chosen], ["m"])]
    nodes += [node("Add", ["h", "m"], ["y"])]
    whole = model(nodes, a, b, w=normal(4, 4))
    found = bounded(whole)
    fed = {"a": normal(3, 4), "b": normal(3, 4)}
    pairs, ratio = exceeded(
        Function(Shipped(name="c", model=whole, fed=fed)), found.lipschitz, points=40, seconds=9
    )
    assert found.status == BOUNDED
    assert pairs > 700
    assert 0.05 < ratio <= 1


@pytest.mark.parametrize("other", ["Equal", "of another", "same branch"])
def test_other_choices_still_jump(other: str) -> None:
    inputs = [value(name, TensorProto.FLOAT, (3,)) for name in ("a", "b", "d")]
    test = node("Equal" if other == "Equal" else "Less", ["a", "b"], ["c"])
    branches = {"Equal": ["a", "b"], "of another": ["a", "d"], "same branch": ["a", "z"]}[other]
    nodes = [test, node("Neg", ["b"], ["z"]), node("Where", ["c", *branches], ["y"])]
    assert bounded(model(nodes, *inputs)).status != BOUNDED


def test_clip_as_onnx_writes_it_out_is_bounded_and_sound() -> None:
    seen = 0
    for case in shipped(["node"]):
        if case.name.startswith("test_clip") and "int8" not in case.name:
            found = bounded(case.model)
            assert found.status == BOUNDED, case.name
            assert exceeded(Function(case), found.lipschitz, points=20, seconds=5)[1] <= 1
            seen += 1
    assert seen >= 16
