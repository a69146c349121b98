"""Sequences, and what is fed to a network and held fixed without being known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.support.backend_functions import Function
from tests.support.backend_models import Shipped
from tests.support.backend_pairs import exceeded
from tests.support.sensitivity import composed
from tests.support.whole_bounds import bounded

node, info = helper.make_node, helper.make_tensor_value_info
DOUBLE, INT64 = TensorProto.DOUBLE, TensorProto.INT64
X = {"x": np.random.default_rng(0).standard_normal((2, 3))}


def made(nodes, fed, output=("y", None), stored=None, opset=20):
    """Arrays that are fed are inputs, of their types."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype) for name, value in fed.items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [info(name, kinds[name], np.shape(value)) for name, value in fed.items()],
        [info(output[0], DOUBLE, output[1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (stored or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def holds(model, fed, expected=None):
    """The bound, which no pair of inputs exceeds."""
    bound = bounded(model).lipschitz
    function = Function(Shipped(name="m", model=model, fed=fed))
    pairs, ratio = exceeded(function, bound, points=30, seconds=10.0)
    assert pairs > 300
    assert ratio <= 1 + 1e-9
    if expected is not None:
        assert bound == pytest.approx(expected)
    return bound


def test_members_pass_through_a_sequence() -> None:
    nodes = [
        node("SplitToSequence", ["x", "one"], ["parts"], axis=1),
        node("SequenceAt", ["parts", "two"], ["last"]),
        node("SequenceErase", ["parts", "one"], ["fewer"]),
        node("SequenceInsert", ["fewer", "last"], ["more"]),
        node("ConcatFromSequence", ["more"], ["y"], axis=1),
    ]
    stored = {"one": np.int64(1), "two": np.int64(2)}
    holds(made(nodes, X, stored=stored), X, math.sqrt(2))


def test_a_sequence_that_is_made_of_members() -> None:
    nodes = [
        node("SequenceConstruct", ["x", "x"], ["both"]),
        node("ConcatFromSequence", ["both"], ["y"], axis=0),
    ]
    holds(made(nodes, X), X, math.sqrt(2))


def test_a_position_that_varies() -> None:
    nodes = [
        node("SequenceConstruct", ["x", "x"], ["both"]),
        node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
        node("ReduceMax", ["i"], ["where"], keepdims=0),
        node("SequenceAt", ["both", "where"], ["y"]),
    ]
    (offence,) = composed(made(nodes, X)).offences
    assert "'where' varies" in offence.reason


HELD = [
    ("Gather", {"i": np.array([0, 1, 1])}, {"axis": 1}, (2, 3), math.sqrt(3)),
    ("GatherElements", {"i": np.array([[0, 1, 0, 2], [1, 0, 2, 1]])}, {"axis": 1}, (2, 4), 2.0),
    ("GatherND", {"i": np.array([[0, 1], [0, 1], [1, 1]])}, {}, (3,), math.sqrt(3)),
    ("ReduceSum", {"axes": np.array([1])}, {"keepdims": 0}, (2,), math.sqrt(3)),
    ("ReduceMean", {"axes": np.array([0])}, {"keepdims": 0}, (3,), math.sqrt(1 / 2)),
    ("ReduceL1", {"axes": np.array([1])}, {}, (2, 1), math.sqrt(3)),
    ("CumSum", {"axis": np.array(1)}, {}, (2, 3), 1 / (2 * math.sin(math.pi / 14))),
    ("Expand", {"shape": np.array([4, 2, 3])}, {}, (4, 2, 3), 2.0),
    ("Tile", {"repeats": np.array([2, 3])}, {}, (4, 9), math.sqrt(6)),
    ("Pad", {"pads": np.array([0, 1, 1, 0])}, {}, (3, 4), 1.0),
    ("ScatterElements", {"i": np.array([[0, 0]]), "u": np.ones((1, 2))}, {"reduction": "add"}, (2, 3), None),
]


@pytest.mark.parametrize(("op", "others", "attributes", "shape", "expected"), HELD, ids=lambda v: str(v)[:14])
def test_what_is_held_fixed_need_not_be_known(op, others, attributes, shape, expected) -> None:
    """Planted elsewhere: the constant of indices that are all different."""
    fed = X | others
    holds(made([node(op, list(fed), ["y"], **attributes)], fed, ("y", shape)), fed, expected)


def test_limits_that_vary() -> None:
    fed = X | {"low": np.array(-0.5), "high": np.array(0.5)}
    holds(made([node("Clip", list(fed), ["y"])], fed, ("y", (2, 3))), fed, math.sqrt(13))


def test_values_of_one_hot_that_vary() -> None:
    fed = {"i": np.array([0, 2, 1]), "depth": np.array(3), "values": np.array([0.5, 2.0])}
    holds(made([node("OneHot", list(fed), ["y"])], fed, ("y", (3, 3))), fed, 3.0)


@pytest.mark.parametrize(("training", "bound"), [(None, 1.0), (False, 1.0), (True, math.inf)])
def test_a_ratio_that_varies_drops_nothing_unless_training(training, bound) -> None:
    fed = X | {"ratio": np.array(0.25)}
    stored = {} if training is None else {"t": np.array(training)}
    model = made([node("Dropout", [*fed, *stored], ["y"])], fed, ("y", (2, 3)), stored=stored)
    assert bounded(model).lipschitz == bound


def test_entries_that_are_put_back() -> None:
    indices = np.array([[[[5, 7], [13, 15]]]])
    fed = {"x": np.arange(4.0, dtype=np.float32).reshape(1, 1, 2, 2), "i": indices}
    model = made([node("MaxUnpool", list(fed), ["y"], kernel_shape=[2, 2], strides=[2, 2])], fed)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    holds(model, fed, 1.0)


@pytest.mark.parametrize("known", [True, False])
def test_blocks_that_are_not_known_overlap_no_more_than_they_can(known) -> None:
    sizes = {"image": np.array([4, 4]), "block": np.array([2, 2])}
    x = {"x": np.random.default_rng(1).standard_normal((1, 4, 9))}
    fed = x if known else x | sizes
    model = made(
        [node("Col2Im", ["x", *sizes], ["y"])], fed, ("y", (1, 1, 4, 4)), stored=sizes if known else {}
    )
    holds(model, fed, 2.0)


def test_statistics_of_each_position() -> None:
    """Before opset 9, in a list or in the shape of an image; against the formula."""
    random = np.random.default_rng(0)
    scale, bias, mean = random.standard_normal((3, 6))
    variance = random.random(6) + 0.1
    weights = {"s": scale, "b": bias, "m": mean, "v": variance}
    x = {"x": random.standard_normal((2, 3, 2))}
    nodes = [node("BatchNormalization", ["x", *weights], ["y"], spatial=0)]
    bound = bounded(made(nodes, x, stored=weights, opset=8)).lipschitz
    assert bound == pytest.approx(np.abs(scale / np.sqrt(variance + np.float32(1e-5))).max())


def test_images_of_sizes_that_are_fed() -> None:
    image = np.random.default_rng(0).standard_normal((1, 1, 2, 3))
    fed = {"x": image, "sizes": np.array([1, 1, 4, 9])}
    model = made([node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")], fed, ("y", (1, 1, 4, 9)))
    run = ReferenceEvaluator(model)
    columns = [
        run.run(None, fed | {"x": unit.reshape(image.shape)})[0].ravel() for unit in np.eye(image.size)
    ]
    assert bounded(model).lipschitz == pytest.approx(np.linalg.norm(np.stack(columns), 2))
