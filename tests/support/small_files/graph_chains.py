"""ONNX graphs of very many nodes, terms, steps and bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tests.support.onnx_models import graph_model, normal
from tests.support.small_files.graph_constants import NODE, beside_a_layer, integers, small
from tests.support.small_files.graphs import IMAGE, WEIGHT, after_a_layer, conv


def many_outer_products() -> ModelProto:
    """A chain of 40 bottlenecks of one unit between 2,900 others."""
    weights = {f"{i}.weight": np.ones((2900, 1) if i % 2 else (1, 2900), np.float32) for i in range(80)}
    nodes = [NODE("MatMul", [f"t{i}", f"{i}.weight"], [f"t{i + 1}"]) for i in range(80)]
    return graph_model(nodes, {"t0": [1, 1]}, weights, ["t80"])


def recurrent(op: str, gates: int) -> ModelProto:
    """200 of them, over 1,000 steps."""
    weights = {"w": normal(1, gates * 2, 4), "r": normal(1, gates * 2, 2)}
    nodes = [NODE(op, ["s", "w", "r"], [f"y{i}"], hidden_size=2) for i in range(200)]
    return graph_model(
        [conv(), *nodes],
        {"s": [1000, 1, 4], **IMAGE},
        {**weights, **WEIGHT},
        ["c", *(f"y{i}" for i in range(200))],
    )


def recurrent_chain() -> ModelProto:
    weights = {"w": normal(1, 8, 2), "r": normal(1, 8, 2), "to": integers(1000, 1, 2)}
    nodes = []
    for i in range(150):
        nodes.append(NODE("LSTM", [f"s{i}", "w", "r"], [f"h{i}"], hidden_size=2))
        nodes.append(NODE("Reshape", [f"h{i}", "to"], [f"s{i + 1}"]))
    return graph_model([conv(), *nodes], {"s0": [1000, 1, 2], **IMAGE}, {**weights, **WEIGHT}, ["c", "s150"])


def terms(op: str) -> ModelProto:
    """6,000 terms, each by a node of its own."""
    nodes = [NODE("Relu", ["c"], [f"t{i}"]) for i in range(6_000)]
    return graph_model([conv(), *nodes, NODE(op, [f"t{i}" for i in range(6_000)], ["y"])], IMAGE, WEIGHT)


def one_term() -> ModelProto:
    """One term, 100,000 times."""
    return after_a_layer(NODE("Sum", ["c"] * 100_000, ["y"]))


def long_chain(op: str, count: int = 4_000) -> ModelProto:
    nodes = [NODE(op, [f"t{i}"], [f"t{i + 1}"]) for i in range(count)]
    return graph_model([conv("x", "t0"), *nodes], IMAGE, WEIGHT, [f"t{count}"])


def doubling() -> ModelProto:
    """Sums of a tensor with itself, 10,000 times: paths beyond any number."""
    nodes = [NODE("Add", [f"t{i}", f"t{i}"], [f"t{i + 1}"]) for i in range(10_000)]
    return graph_model([conv("x", "t0"), *nodes], IMAGE, WEIGHT, ["t10000"])


def skips() -> ModelProto:
    """Products with a gate, one after the other: regions of many nodes."""
    nodes = []
    for i in range(1000):
        nodes += [NODE("Sigmoid", [f"t{i}"], [f"g{i}"]), NODE("Mul", [f"t{i}", f"g{i}"], [f"t{i + 1}"])]
    return graph_model([conv("x", "t0"), *nodes], IMAGE, WEIGHT, ["t1000"])


def scalings() -> ModelProto:
    """Scalings before a layer that cannot take them all, one after the other."""
    nodes = [NODE("Mul", [f"t{i}", "s"], [f"t{i + 1}"]) for i in range(4_000)]
    weights = {"s": np.full((1, 4, 1, 1), 1.5, np.float32), **WEIGHT, "k.weight": normal(4, 4, 1, 1)}
    return graph_model([conv("x", "t0"), *nodes, NODE("Conv", ["t4000", "k.weight"], ["y"])], IMAGE, weights)


def different_sines() -> ModelProto:
    """Functions that all differ."""
    nodes, weights = [], dict(WEIGHT)
    for i in range(400):
        weights[f"k{i}"] = np.float32(i + 0.5)
        nodes += [NODE("Mul", [f"t{i}", f"k{i}"], [f"m{i}"]), NODE("Sin", [f"m{i}"], [f"s{i}"])]
        nodes += [NODE("Mul", [f"s{i}", f"t{i}"], [f"t{i + 1}"])]
    return graph_model([conv("x", "t0"), *nodes], IMAGE, weights, ["t400"])


def many_outputs() -> ModelProto:
    """A Split into 15,000 parts that are all joined again."""
    names = [f"p{i}" for i in range(15_000)]
    nodes = [
        NODE("Split", ["x"], names, axis=1, num_outputs=len(names)),
        NODE("Concat", names, ["m"], axis=1),
    ]
    return beside_a_layer([NODE("Split", ["v"], names, axis=1, num_outputs=len(names)), nodes[1]], {}, ["m"])


def nested_ifs(depth: int = 12) -> ModelProto:
    """Ifs in both branches of Ifs."""

    def body(level: int, name: str) -> helper.GraphProto:
        result = f"r{name}"
        if not level:
            node = NODE("Relu", ["c"], [result])
        else:
            branches = {f"{side}_branch": body(level - 1, f"{name}{side[0]}") for side in ("then", "else")}
            node = NODE("If", ["b"], [result], **branches)
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(result, 1, None)])

    node = NODE("If", ["b"], ["y"], then_branch=body(depth - 1, "t"), else_branch=body(depth - 1, "e"))
    model = graph_model([conv(), node], IMAGE, WEIGHT)
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.BOOL, []))
    return model


def deep_ifs(depth: int = 25) -> ModelProto:
    """Ifs in Ifs, as deep as may be, with many names from outside."""
    inner = [NODE("Relu", ["c"], [f"i{i}"]) for i in range(3000)]
    graph = helper.make_graph(inner, "g", [], [helper.make_tensor_value_info("i0", 1, None)])
    for level in range(depth):
        node = NODE(
            "If",
            ["b"],
            [f"n{level}"],
            then_branch=graph,
            else_branch=helper.make_graph(
                [NODE("Relu", ["c"], [f"e{level}"])],
                "e",
                [],
                [helper.make_tensor_value_info(f"e{level}", 1, None)],
            ),
        )
        graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info(f"n{level}", 1, None)])
    node = NODE(
        "If",
        ["b"],
        ["y"],
        then_branch=graph,
        else_branch=helper.make_graph(
            [NODE("Relu", ["c"], ["o"])], "e", [], [helper.make_tensor_value_info("o", 1, None)]
        ),
    )
    model = graph_model([conv(), node], IMAGE, WEIGHT)
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.BOOL, []))
    return model


MAKERS: Mapping[str, Callable[[], ModelProto]] = {
    "chain of outer products": many_outer_products,
    "200 LSTMs": partial(recurrent, "LSTM", 4),
    "200 GRUs": partial(recurrent, "GRU", 3),
    "200 RNNs": partial(recurrent, "RNN", 1),
    "150 LSTMs in a chain": recurrent_chain,
    **{f"{op} of 6,000 terms": partial(terms, op) for op in ("Sum", "Concat")},
    "one term 100,000 times": one_term,
    "4,000 sines": partial(long_chain, "Sin"),
    "4,000 Relus": partial(long_chain, "Relu"),
    "10,000 sums of one tensor": doubling,
    "1,000 gates": skips,
    "4,000 scalings": scalings,
    "400 functions": different_sines,
    "15,000 parts": many_outputs,
    "ifs in ifs": nested_ifs,
    "deep ifs": deep_ifs,
}
FILES = tuple(small(name, make) for name, make in MAKERS.items())
