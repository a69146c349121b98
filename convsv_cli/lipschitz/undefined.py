"""Numbers of a graph that are none: a network that computes with NaN has no Lipschitz constant."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from convsv_cli.graph import Body, Graph, Node, UnknownValueError
from convsv_cli.report import BOUNDED, UNBOUNDED, NetworkBound, Obstacle

LARGEST = 2**22
"""Elements of a constant that is looked at; larger ones are weights, whose rows say what they are."""
UNDEFINED = "its {} {!r} holds NaN"


def defined(bound: NetworkBound, graph: Graph) -> NetworkBound:
    """The bound; none where a node of the graph has NaN among its constants or attributes."""
    found = tuple(_obstacles(graph, graph.main)) if bound.status == BOUNDED else ()
    if not found:
        return bound
    return replace(bound, status=UNBOUNDED, lipschitz=math.inf, log10=None, blocks=(), obstacles=found)


def _obstacles(graph: Graph, body: Body) -> Iterator[Obstacle]:
    for node in body.nodes:
        reason = next(_reasons(graph, node), None)
        if reason is not None:
            yield Obstacle(node=node.name, op=node.op, reason=reason)
        for _, inner in node.bodies:
            yield from _obstacles(graph, inner)


def _reasons(graph: Graph, node: Node) -> Iterator[str]:
    for name, value in node.attributes.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and math.isnan(number) for number in numbers):
            yield UNDEFINED.format("attribute", name)
    for name in node.inputs:
        if name in graph.constants and _holds_nan(graph, name):
            yield UNDEFINED.format("input", name)


def _holds_nan(graph: Graph, name: str) -> bool:
    shape = graph.shapes.get(name)
    if shape is None or math.prod(size or 0 for size in shape) > LARGEST:
        return False
    if "float" not in graph.dtypes.get(name, "float") and graph.dtypes[name] != "double":
        return False
    try:
        values = graph.constants[name]()
    except UnknownValueError:
        return False
    return bool(np.isnan(values.astype(np.float64)).any())
