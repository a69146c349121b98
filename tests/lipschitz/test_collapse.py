"""Element-wise sub-graphs as one function: what is collapsed, what stays, and that nothing else changes."""

from __future__ import annotations

import math
import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from convsv_cli.lipschitz.collapse import MOST_PARTS, collapsed
from convsv_cli.lipschitz.composition import compose
from convsv_cli.lipschitz.rules import RULES
from convsv_cli.lipschitz.scalar import steepness
from convsv_cli.lipschitz.scalar.expressions import SWITCH, Expression, X, jet, number
from convsv_cli.lipschitz.scalar.operators import COLLAPSED
from convsv_cli.lipschitz.scalar.switches import continuous
from convsv_cli.lipschitz.segments import Composed
from convsv_cli.model.graph import Graph, Node
from convsv_cli.numerics.intervals import Intervals, Range
from tests.support.sensitivity import amplification, double_model, flat, network, norms_of_rows, runner

node = helper.make_node
C = {name: np.array(value) for name, value in {
    "one": 1.0, "half": 0.5, "three": 3.0, "six": 6.0, "zero": 0.0, "root2": math.sqrt(2), "a": 0.044715,
    "b": math.sqrt(2 / math.pi), "q": 1.702, "minus": -1.0,
}.items()}  # fmt: skip
SILU = [node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])]
ACTIVATIONS = {
    "silu": (SILU, 1.0998393194),
    "quick gelu": (
        [node("Mul", ["x", "q"], ["u"]), node("Sigmoid", ["u"], ["s"]), node("Mul", ["s", "x"], ["y"])],
        1.0998393194,
    ),
    "gelu by erf": (
        [
            node("Div", ["x", "root2"], ["u"]), node("Erf", ["u"], ["e"]), node("Add", ["e", "one"], ["g"]),
            node("Mul", ["x", "g"], ["p"]), node("Mul", ["p", "half"], ["y"]),
        ],
        1.1289041456,
    ),
    "gelu by tanh": (
        [
            node("Pow", ["x", "three"], ["c"]), node("Mul", ["a", "c"], ["d"]),
            node("Add", ["x", "d"], ["e"]), node("Mul", ["e", "b"], ["u"]), node("Tanh", ["u"], ["t"]),
            node("Add", ["one", "t"], ["g"]), node("Mul", ["x", "half"], ["h"]),
            node("Mul", ["h", "g"], ["y"]),
        ],
        1.1289930696,
    ),
    "gelu by tanh, cube by products": (
        [
            node("Mul", ["x", "x"], ["v"]), node("Mul", ["v", "x"], ["c"]), node("Mul", ["a", "c"], ["d"]),
            node("Add", ["x", "d"], ["e"]), node("Mul", ["e", "b"], ["u"]), node("Tanh", ["u"], ["t"]),
            node("Add", ["one", "t"], ["g"]), node("Mul", ["x", "g"], ["p"]),
            node("Mul", ["p", "half"], ["y"]),
        ],
        1.1289930696,
    ),
    "mish": (
        [node("Softplus", ["x"], ["s"]), node("Tanh", ["s"], ["t"]), node("Mul", ["x", "t"], ["y"])],
        1.0884981612,
    ),
    "hardswish": ([node("HardSigmoid", ["x"], ["s"], alpha=1 / 6), node("Mul", ["x", "s"], ["y"])], 1.5),
    "hardswish by relu6": (
        [
            node("Add", ["x", "three"], ["u"]), node("Clip", ["u", "zero", "six"], ["c"]),
            node("Mul", ["x", "c"], ["p"]), node("Div", ["p", "six"], ["y"]),
        ],
        1.5,
    ),
    "hardswish by min and max": (
        [
            node("Add", ["x", "three"], ["u"]), node("Max", ["u", "zero"], ["m"]),
            node("Min", ["six", "m"], ["c"]), node("Mul", ["x", "c"], ["p"]),
            node("Div", ["p", "six"], ["y"]),
        ],
        1.5,
    ),
    "silu by exp": (
        [
            node("Neg", ["x"], ["n"]), node("Exp", ["n"], ["e"]), node("Add", ["one", "e"], ["d"]),
            node("Div", ["x", "d"], ["y"]),
        ],
        1.0998393194,
    ),
    "softplus by log": (
        [node("Exp", ["x"], ["e"]), node("Add", ["e", "one"], ["d"]), node("Log", ["d"], ["y"])],
        1.0,
    ),
    "gauss": (
        [node("Mul", ["x", "x"], ["v"]), node("Mul", ["minus", "v"], ["n"]), node("Exp", ["n"], ["y"])],
        math.sqrt(2 / math.e),
    ),
}  # fmt: skip


def used(nodes: list[onnx.NodeProto]) -> dict[str, np.ndarray]:
    names = {name for each in nodes for name in each.input}
    return {name: value for name, value in C.items() if name in names}


def graph_of(model: onnx.ModelProto) -> Graph:
    graph = network(model).graph
    assert graph is not None
    return graph


def composition(model: onnx.ModelProto) -> Composed:
    found = network(model)
    return compose(collapsed(graph_of(model)), RULES, norms_of_rows(found))


def bound(model: onnx.ModelProto) -> float:
    return float(np.prod([segment.factor for segment in composition(model).segments]))


def functions(model: onnx.ModelProto) -> list[Node]:
    return [each for each in collapsed(graph_of(model)).main.nodes if each.op == COLLAPSED]


def ops(graph: Graph) -> list[str]:
    return [each.op for each in graph.main.nodes]


def assert_same_function(model: onnx.ModelProto, only: Node) -> None:
    points = np.linspace(-6, 6, 49)
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    wide.graph.input[0].type.tensor_type.shape.dim[0].dim_value = len(points)
    (values,) = runner(wide)({"x": points})
    found = jet(only.attributes["expression"], Intervals(points, points)).value
    slack = 1e-6 * (1 + np.abs(values))
    assert (found.lower - slack <= values).all()
    assert (values <= found.upper + slack).all()
    assert (found.upper - found.lower <= slack).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_exported_activations_become_one_function(name):
    nodes, steepest = ACTIVATIONS[name]
    model = double_model(nodes, {"x": [4]}, used(nodes))
    (only,) = collapsed(graph_of(model)).main.nodes
    assert (only.op, only.inputs, only.outputs) == (COLLAPSED, ("x",), ("y",))
    assert only.name == graph_of(model).main.nodes[-1].name
    assert_same_function(model, only)
    assert bound(model) == pytest.approx(steepest, rel=2e-6)
    assert amplification(flat(model, {"x": [4]}), 4, scale=2.0) <= bound(model) * (1 + 1e-4)


def test_an_intermediate_output_stays():
    model = double_model(SILU, {"x": [4]}, {}, outputs=("y", "s"))
    assert ops(collapsed(graph_of(model))) == ["Sigmoid", COLLAPSED]


def test_an_intermediate_that_is_used_elsewhere_stays():
    nodes = [*SILU, node("ReduceSum", ["s"], ["r"]), node("Add", ["y", "r"], ["z"])]
    model = double_model(nodes, {"x": [4]}, {}, outputs=("z",))
    assert ops(collapsed(graph_of(model))) == ["Sigmoid", COLLAPSED, "ReduceSum", "Add"]


def branch(name: str, nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(
        nodes, name, [], [helper.make_tensor_value_info(output, TensorProto.DOUBLE, None)]
    )


def conditional(nodes: list[onnx.NodeProto], then: list[onnx.NodeProto]) -> onnx.ModelProto:
    choice = node(
        "If", ["c"], ["z"], then_branch=branch("t", then, "t"),
        else_branch=branch("e", [node("Neg", ["x"], ["e"])], "e"),
    )  # fmt: skip
    model = double_model([*nodes, choice], {"x": [4]}, {}, outputs=("z",))
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    return model


def test_an_intermediate_that_a_body_captures_stays():
    then = [node("Add", ["y", "s"], ["t"])]
    assert ops(collapsed(graph_of(conditional(SILU, then)))) == ["Sigmoid", COLLAPSED, "If"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_second_consumer_of_any_part_changes_nothing(name):
    nodes, steepest = ACTIVATIONS[name]
    for part in nodes[:-1]:
        more = [*nodes, node("Tanh", [part.output[0]], ["more"])]
        graph = collapsed(graph_of(double_model(more, {"x": [4]}, used(nodes), outputs=("y", "more"))))
        (last,) = (each for each in graph.main.nodes if each.outputs == ("y",))
        assert steepness.steepness(last.attributes["expression"]) == pytest.approx(steepest, rel=2e-6)


def test_bodies_are_collapsed():
    then = [node("Sigmoid", ["x"], ["q"]), node("Mul", ["x", "q"], ["t"])]
    (choice,) = collapsed(graph_of(conditional([], then))).main.nodes
    bodies = dict(choice.bodies)
    assert [each.op for each in bodies["then_branch"].nodes] == [COLLAPSED]
    assert [each.op for each in bodies["else_branch"].nodes] == ["Neg"]
    assert bound(conditional([], then)) == pytest.approx(1.0998393194, rel=2e-6)


def test_the_region_ends_where_a_second_input_comes_in():
    nodes = [
        node("Relu", ["x"], ["r"]), node("MatMul", ["r", "w"], ["m"]), node("Add", ["r", "m"], ["v"]),
        node("Sigmoid", ["v"], ["s"]), node("Mul", ["v", "s"], ["y"]),
    ]  # fmt: skip
    model = double_model(nodes, {"x": [1, 4]}, {"w": np.eye(4)})
    graph = collapsed(graph_of(model))
    assert ops(graph) == ["Relu", "MatMul", "Add", COLLAPSED]
    assert graph.main.nodes[-1].inputs == ("v",)


def test_what_one_function_does_not_help_stays():
    for nodes in (
        [node("Relu", ["x"], ["y"])],
        [node("Mul", ["x", "half"], ["u"]), node("Add", ["u", "one"], ["y"])],
        [node("Mul", ["x", "half"], ["u"]), node("Relu", ["u"], ["y"])],
    ):
        assert functions(double_model(nodes, {"x": [4]}, used(nodes))) == []


@pytest.mark.parametrize("constant", [np.full(4, 2.0), np.full((1, 1, 1, 1), 2.0)])
def test_other_constants_stay(constant):
    """Of several numbers, and of more axes than the input."""
    nodes = [node("Mul", ["x", "k"], ["u"]), node("Sigmoid", ["u"], ["s"]), node("Mul", ["u", "s"], ["y"])]
    model = double_model(nodes, {"x": [4]}, {"k": constant})
    (only,) = functions(model)
    assert only.inputs == ("u",)
    kept = double_model(nodes, {"x": [1, 2, 1, 4]}, {"k": np.full((1, 1, 1, 1), 2.0)})
    assert functions(kept)[0].inputs == ("x",)


def test_jumps_random_masks_and_integers_stay():
    weights = {"r": np.array(0.5), "t": np.array(True)}
    for nodes, constants in (
        ([node("ThresholdedRelu", ["x"], ["u"]), node("Tanh", ["u"], ["y"])], {}),
        ([node("Dropout", ["x", "r", "t"], ["u"]), node("Mul", ["u", "x"], ["y"])], weights),
        (
            [node("Cast", ["x"], ["i"], to=TensorProto.INT64),
             node("Cast", ["i"], ["u"], to=TensorProto.DOUBLE), node("Mul", ["u", "x"], ["y"])], {},
        ),
    ):  # fmt: skip
        assert functions(double_model(nodes, {"x": [4]}, constants)) == []


def test_endless_towers_of_products_are_cut():
    nodes = [node("Mul", [f"t{i}", f"t{i}"], [f"t{i + 1}"]) for i in range(100)]
    nodes += [node("Add", [f"t{i}", f"t{i}"], [f"t{i + 1}"]) for i in range(100, 200)]
    nodes = [node("Tanh", ["x"], ["t0"]), *nodes, node("Tanh", ["t200"], ["y"])]
    found = functions(double_model(nodes, {"x": [4]}, {}))
    assert found
    assert all(str(each.attributes["expression"]).count("op=") <= MOST_PARTS for each in found)


def _hard_swishes(count: int) -> list[onnx.NodeProto]:
    nodes, x = [], "x"
    for i in range(count):
        result = "y" if i == count - 1 else f"h{i}"
        nodes += [
            node("Add", [x, "three"], [f"a{i}"]), node("Clip", [f"a{i}", "zero", "six"], [f"c{i}"]),
            node("Mul", [x, f"c{i}"], [f"m{i}"]), node("Div", [f"m{i}", "six"], [result]),
        ]  # fmt: skip
        x = result
    return nodes


def _tanhs(count: int) -> list[onnx.NodeProto]:
    names = ["x", *(f"t{i}" for i in range(count - 1)), "y"]
    return [node("Tanh", [names[i]], [names[i + 1]]) for i in range(count)]


@pytest.mark.parametrize("chain", [_tanhs, _hard_swishes])
def test_work_grows_with_the_length_of_a_chain_and_not_faster(chain, monkeypatch):
    work: list[int] = []

    def counted(expression, boxes):
        work.append(expression.count() * boxes.lower.size)
        return jet(expression, boxes)

    monkeypatch.setattr(steepness, "jet", counted)
    totals = []
    for count in (4, 8, 16):
        work.clear()
        steepness.values.cache_clear()
        steepness._steepest.cache_clear()
        constants = C if chain is _hard_swishes else {}
        found = network(double_model(chain(count), {"x": [4]}, constants))
        composed = compose(collapsed(found.graph), RULES, norms_of_rows(found), Range(lower=-3.0, upper=3.0))
        assert not composed.offences
        totals.append(sum(work))
    assert totals[2] <= 3 * totals[1] <= 9 * totals[0]
    assert totals[2] < 80 * 4 * 250


UNARY = ("Sigmoid", "Tanh", "Softplus", "Relu", "Abs", "Atan", "Sin", "Neg", "HardSwish", "Elu")
BINARY = ("Add", "Sub", "Mul", "Max")


def random_nodes(generator: random.Random) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """A graph of element-wise nodes with bounded slopes: products have a bounded factor each."""
    names, nodes, constants = ["x"], [], {}
    for i in range(generator.randint(3, 10)):
        kind = generator.random()
        if kind < 0.5:
            nodes.append(node(generator.choice(UNARY), [generator.choice(names)], [f"n{i}"]))
        elif kind < 0.75:
            constants[f"c{i}"] = np.array(generator.uniform(-2, 2))
            pair = [generator.choice(names), f"c{i}"]
            nodes.append(node(generator.choice(BINARY), generator.sample(pair, 2), [f"n{i}"]))
        else:
            pair = [generator.choice(names), generator.choice(names)]
            nodes.append(node(generator.choice(("Add", "Sub", "Mul")), pair, [f"n{i}"]))
        names.append(f"n{i}")
    return nodes, constants


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_are_the_same_function_with_a_smaller_bound(seed):
    nodes, constants = random_nodes(random.Random(seed))
    last = nodes[-1].output[0]
    model = double_model(nodes, {"x": [4]}, constants, outputs=(last,))
    found = network(model)
    seen = amplification(flat(model, {"x": [4]}), 4, seed, scale=3.0)
    after = compose(collapsed(graph_of(model)), RULES, norms_of_rows(found))
    before = compose(graph_of(model), RULES, norms_of_rows(found))
    smaller, larger = (float(np.prod([s.factor for s in each.segments])) for each in (after, before))
    assert seen <= smaller * (1 + 1e-6) + 1e-8
    assert smaller <= larger * (1 + 1e-5) + 1e-9
    assert collapsed(graph_of(model)).main.outputs == (last,)


SOFTPLUS = [
    node("Softplus", ["x"], ["s"]), node("Greater", ["x", "t"], ["c"]),
    node("Where", ["c", "x", "s"], ["y"]),
]  # fmt: skip


def test_a_jump_that_rounding_hides_is_told():
    """Softplus(x > 20) is x, in torch; it jumps by 2e-9."""
    graph = collapsed(graph_of(double_model(SOFTPLUS, {"x": [4]}, {"t": np.array(20.0)})))
    assert [each.op for each in graph.main.nodes] == [COLLAPSED]
    assert "'y' jumps by at most 2.1e-9, which single precision does not tell from no jump" in graph.assumed


@pytest.mark.parametrize("threshold", [0.0, 1.0, 8.0])
def test_a_jump_that_shows_is_no_function_with_a_constant(threshold: float):
    model = double_model(SOFTPLUS, {"x": [4]}, {"t": np.array(threshold)})
    assert functions(model) == []
    assert bound(model) == math.inf


def test_what_hides_a_jump_is_the_value_not_where_it_is():
    expression = Expression(op=SWITCH, operands=(X, number(0.0), number(0.05)), numbers=(1e6,))
    assert not continuous(expression)
    assert continuous(expression + X * 1.0)  # a jump of 0.05 at 1e6


WHERE = {
    "relu": ([node("Mul", ["x", "m"], ["y"])], 1.0),
    "elu": (
        [node("Exp", ["x"], ["e"]), node("Sub", ["e", "one"], ["f"]), node("Where", ["c", "x", "f"], ["y"])],
        1.0,
    ),
    "leaky": ([node("Mul", ["x", "half"], ["f"]), node("Where", ["c", "x", "f"], ["y"])], 1.0),
    "abs": ([node("Sign", ["x"], ["f"]), node("Mul", ["x", "f"], ["y"])], 1.0),
    "larger": ([node("Mul", ["x", "half"], ["f"]), node("Max", ["x", "f"], ["y"])], 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", WHERE)
def test_functions_by_choice_and_by_masks(name: str):
    nodes, steepest = WHERE[name]
    whole = [
        node("Greater", ["x", "zero"], ["c"]), node("Cast", ["c"], ["m"], to=TensorProto.DOUBLE), *nodes,
    ]  # fmt: skip
    needed = {each for step in whole for each in step.input}
    model = double_model(whole, {"x": [4]}, {each: C[each] for each in C if each in needed})
    assert bound(model) == pytest.approx(steepest, rel=2e-6)
