"""What is written out in the branches of If, and which tensors may stand for a form where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.helper import make_node

from convsv_cli.lipschitz.written_out import LENGTH, RADIAL, read_back
from convsv_cli.lipschitz.written_out.heads import ATTENTION
from convsv_cli.model.graph import Body, Graph
from tests.support.sensitivity import amplification, double_model, flat, network
from tests.support.whole_bounds import bounded

CONSTANTS = {
    "axis": np.array([1]),
    "eps": np.array(1e-2),
    "one": np.array(1.0),
    "two": np.array(2.0),
    "little": np.array(1e-3),
    "yes": np.array(True),
}
SHAPE = {"x": (3, 4)}
Written = Sequence[tuple[str, str, str]]
LAYER_NORM: Written = [
    ("ReduceMean", "x axis", "mean"),
    ("Sub", "x mean", "d"),
    ("Mul", "d d", "dd"),
    ("ReduceMean", "dd axis", "v"),
    ("Add", "v eps", "ve"),
    ("Sqrt", "ve", "r"),
    ("Div", "d r", "y"),
]
ATTENDED: Written = [
    ("Transpose", "x", "t"),
    ("MatMul", "x t", "scores"),
    ("Softmax", "scores", "p"),
    ("MatMul", "p x", "y"),
]
EXPANDED: Written = [
    ("Mul", "x x", "xx"),
    ("Mul", "x two", "x2"),
    ("Sub", "xx x2", "q0"),
    ("Add", "q0 one", "q"),
    ("ReduceSum", "q axis", "s"),
    ("Add", "s eps", "s1"),
    ("Sqrt", "s1", "y"),
]
"""The length of x - 1, of which only the square is there."""
DEVIATIONS: Written = [("Sub", "x one", "e")]
LATE: Written = [
    *EXPANDED[:-1],
    ("Sqrt", "s1", "n"),
    *DEVIATIONS,
    ("Mul", "e little", "f"),
    ("Add", "f n", "y"),
]
"""x - 1 itself is there too late."""
SAME: Written = [("Identity", "x", "y")]


def nodes(written: Written) -> list[NodeProto]:
    return [make_node(op, inputs.split(), [out]) for op, inputs, out in written]


def branch(written: Written, end: str = "y", last: str = "") -> GraphProto:
    """A body, whose own tensors have names that others have, too."""
    value = helper.make_tensor_value_info(end, TensorProto.DOUBLE, None)
    return helper.make_graph(
        [*nodes(written), *([make_node("Relu", [last], [end])] if last else [])], "b", [], [value]
    )


def choosing(then: GraphProto, other: GraphProto, before: Written = (), after: Written = ()) -> ModelProto:
    """One of two branches, by an input; its result is z."""
    chosen = make_node("If", ["c"], ["z"], then_branch=then, else_branch=other)
    model = double_model(
        [*nodes(before), chosen, *nodes(after)], SHAPE, CONSTANTS, [after[-1][2] if after else "z"]
    )
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    return model


def graph_of(model: ModelProto) -> Graph:
    graph = network(model).graph
    assert graph is not None
    return read_back(graph)


def unseen(body: Body, seen: set[str]) -> Iterator[str]:
    """The tensors that nodes take before they are computed, or from bodies that they are not in."""
    inside = set(seen)
    for node in body.nodes:
        yield from (name for name in node.inputs if name and name not in inside)
        for _, inner in node.bodies:
            yield from unseen(inner, inside)
        inside.update(node.outputs)
    yield from (name for name in body.outputs if name not in inside)


def operators(graph: Graph) -> list[str]:
    return [node.op for body in graph.main.all_bodies() for node in body.nodes]


def seen_by_runs(model: ModelProto, condition: bool) -> float:
    """The largest slope where the condition is this."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.input[1]
    fixed.graph.initializer.append(numpy_helper.from_array(np.array(condition), "c"))
    return max(amplification(flat(fixed, SHAPE), 12, scale=scale) for scale in (1e-3, 0.1, 1.0))


@pytest.mark.parametrize(
    ("written", "op", "of"),
    [(LAYER_NORM, RADIAL, (None, None)), (ATTENDED, ATTENTION, (-1.0, 1.0))],
    ids=["LayerNorm", "attention"],
)
def test_branches_are_read_as_the_graph_is(written: Written, op: str, of: tuple[float, float]) -> None:
    within = None if of[0] is None else of
    alone = bounded(double_model(nodes(written), SHAPE, CONSTANTS), within)
    model = choosing(branch(written), branch([("Identity", "x", "y")]))
    graph = graph_of(model)
    assert op in operators(graph)
    assert not set(unseen(graph.main, {*graph.inputs, *graph.constants}))
    assert bounded(model, within).lipschitz == pytest.approx(max(1.0, alone.lipschitz))


def test_a_branch_sees_what_is_around_it() -> None:
    """The deviations are computed outside, and in a branch of a branch inside."""
    inner = choosing(branch(LAYER_NORM[2:]), branch([("Identity", "d", "y")])).graph.node[0]
    inner.output[0] = "w"
    outer = branch([])
    outer.node.extend([inner, make_node("Relu", ["w"], ["y"])])
    model = choosing(outer, branch([("Identity", "d", "y")]), before=LAYER_NORM[:2])
    graph = graph_of(model)
    assert RADIAL in operators(graph)
    assert not set(unseen(graph.main, {*graph.inputs, *graph.constants}))
    found = bounded(model).lipschitz
    assert found == pytest.approx(10.0)  # 1 / sqrt(eps)
    assert max(seen_by_runs(model, True), seen_by_runs(model, False)) <= found * (1 + 1e-6)


UNSEEN: dict[str, Callable[[], ModelProto]] = {
    "in the other branch": lambda: choosing(branch(DEVIATIONS, last="e"), branch(EXPANDED[:-1], last="s1")),
    "behind the If": lambda: choosing(
        branch(EXPANDED),
        branch([("Identity", "x", "y")]),
        after=[*DEVIATIONS, ("Mul", "e little", "f"), ("Add", "f z", "o")],
    ),
    "further on in the branch": lambda: choosing(
        branch(
            [*EXPANDED[:-1], ("Sqrt", "s1", "n"), *DEVIATIONS, ("Mul", "e little", "f"), ("Add", "f n", "y")]
        ),
        branch([("Identity", "x", "y")]),
    ),
    "further on in the graph": lambda: double_model(
        nodes(
            [*EXPANDED[:-1], ("Sqrt", "s1", "n"), *DEVIATIONS, ("Mul", "e little", "f"), ("Add", "f n", "y")]
        ),
        SHAPE,
        CONSTANTS,
    ),
}
"""What could stand for x - 1 is computed where it is not seen, or later."""


@pytest.mark.parametrize("place", UNSEEN)
def test_what_is_not_seen_stands_for_nothing(place: str) -> None:
    model = UNSEEN[place]()
    graph = graph_of(model)
    assert LENGTH not in operators(graph)
    assert not set(unseen(graph.main, {*graph.inputs, *graph.constants}))
    found = bounded(model).lipschitz
    conditions = (True, False) if len(model.graph.input) > 1 else ()
    runs = [seen_by_runs(model, each) for each in conditions] or [amplification(flat(model, SHAPE), 12)]
    assert max(runs) <= found


def test_what_is_seen_stands_for_it() -> None:
    model = choosing(branch(EXPANDED), branch([("Relu", "e", "y")]), before=DEVIATIONS)
    graph = graph_of(model)
    assert LENGTH in operators(graph)
    assert not set(unseen(graph.main, {*graph.inputs, *graph.constants}))
    assert bounded(model).lipschitz == pytest.approx(1.0)
    assert seen_by_runs(model, True) <= 1 + 1e-6


def test_loops_stay_as_they_are() -> None:
    """What their states are varies from one run to the next."""
    state = [
        helper.make_tensor_value_info(name, kind, None) for name, kind in (("i", 7), ("go", 9), ("u", 11))
    ]
    body = helper.make_graph(
        [
            make_node("Identity", ["go"], ["on"]),
            *nodes([("Mul", "x u", "w"), *EXPANDED[:-1], ("Sqrt", "s1", "y")]),
        ],
        "b",
        state,
        [helper.make_tensor_value_info(name, kind, None) for name, kind in (("on", 9), ("y", 11))],
    )
    loop = make_node("Loop", ["three", "yes", "x"], ["y"], body=body)
    model = double_model([loop], SHAPE, {**CONSTANTS, "three": np.array(3)})
    graph = network(model).graph
    assert graph is not None
    assert operators(read_back(graph)) == operators(graph)
    assert bounded(model).lipschitz == np.inf
