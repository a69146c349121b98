"""The larger or the smaller of two tensors, written as a choice: `Where(Less(a, b), b, a)` is `Max(a, b)`."""

from __future__ import annotations

from dataclasses import replace

from convsv_cli.lipschitz.dependencies import passes
from convsv_cli.model.graph import Body, Graph, Node

BELOW = {"Less": True, "LessOrEqual": True, "Greater": False, "GreaterOrEqual": False}
"""Comparisons, and whether they are true where the first is the smaller; equal ones are equal results."""


def extremes(graph: Graph) -> Graph:
    """The same computation with `Max` and `Min` for choices that make these.

    Args:
        graph: at one input size.
    """
    makers = graph.makers
    if not any(node.op in BELOW for node in makers.values()):
        return graph
    return replace(graph, main=_of_body(graph.main, graph))


def _of_body(body: Body, graph: Graph) -> Body:
    nodes = (
        replace(node, bodies=tuple((key, _of_body(inner, graph)) for key, inner in node.bodies))
        if node.bodies
        else _extreme(node, graph)
        for node in body.nodes
    )
    return replace(body, nodes=tuple(nodes))


def _extreme(node: Node, graph: Graph) -> Node:
    if node.op != "Where" or len(node.inputs) != 3:
        return node
    test, inverted = graph.makers.get(node.inputs[0]), False
    while test is not None and test.op == "Not":
        test, inverted = graph.makers.get(test.input(0)), not inverted
    if test is None or test.op not in BELOW or len(test.inputs) != 2:
        return node
    first, second = (_origin(name, graph) for name in test.inputs)
    chosen, other = (_origin(name, graph) for name in node.inputs[1:])
    if {first, second} != {chosen, other} or chosen == other:
        return node
    smaller = (chosen == first) == (BELOW[test.op] != inverted)
    return replace(node, op="Min" if smaller else "Max", inputs=node.inputs[1:])


def _origin(name: str, graph: Graph) -> str:
    """The tensor that this one is, under another name."""
    node = graph.makers.get(name)
    while node is not None and passes(node, graph) and node.op != "Dropout":
        name = node.inputs[0]
        node = graph.makers.get(name)
    return name
