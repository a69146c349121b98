"""NaN among the numbers of a graph: a network that computes with it has no Lipschitz constant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial

import numpy as np

from convsv_cli.model.graph import Body, Graph, Node, UnknownValueError
from convsv_cli.report import BOUNDED, UNBOUNDED, NetworkBound, Obstacle

LARGEST = 2**22
"""The most elements of a constant that is checked here; larger ones are weights, checked as rows."""
UNDEFINED = "its {} {!r} holds NaN"


def defined(bound: NetworkBound, graph: Graph) -> NetworkBound:
    """The bound; none where a node of the graph has NaN among its constants or attributes."""
    holds_nan = cache(partial(_holds_nan, graph))  # a file may use one constant any number of times
    found = tuple(_obstacles(graph.main, holds_nan)) if bound.status == BOUNDED else ()
    if not found:
        return bound
    return replace(bound, status=UNBOUNDED, lipschitz=math.inf, log10=None, blocks=(), obstacles=found)


def _obstacles(body: Body, holds_nan: Callable[[str], bool]) -> Iterator[Obstacle]:
    for node in body.nodes:
        reason = next(_reasons(node, holds_nan), None)
        if reason is not None:
            yield Obstacle(node=node.name, op=node.op, reason=reason)
        for _, inner in node.bodies:
            yield from _obstacles(inner, holds_nan)


def _reasons(node: Node, holds_nan: Callable[[str], bool]) -> Iterator[str]:
    for name, value in node.attributes.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and math.isnan(number) for number in numbers):
            yield UNDEFINED.format("attribute", name)
    for name in node.inputs:
        if holds_nan(name):
            yield UNDEFINED.format("input", name)


def _holds_nan(graph: Graph, name: str) -> bool:
    shape = graph.shapes.get(name)
    if name not in graph.constants or shape is None or math.prod(size or 0 for size in shape) > LARGEST:
        return False
    if "float" not in graph.dtypes.get(name, "float") and graph.dtypes[name] != "double":
        return False
    try:
        values = graph.constants[name]().read()
    except UnknownValueError:
        return False
    return bool(np.isnan(values.astype(np.float64)).any())
