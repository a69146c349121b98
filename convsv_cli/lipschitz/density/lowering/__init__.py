"""The steps of a graph's nodes: one rule per operator, by families."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from convsv_cli import limits
from convsv_cli.lipschitz.density.lowering import arithmetic, elementwise, linear, movement, pooling, resizing
from convsv_cli.lipschitz.density.lowering.context import Lowering, Table
from convsv_cli.lipschitz.density.lowering.views import NoRowError
from convsv_cli.lipschitz.density.program import Program
from convsv_cli.lipschitz.density.ranges import Ranges
from convsv_cli.lipschitz.dependencies import by_chance, needs
from convsv_cli.lipschitz.operation import MALFORMED, UnboundedError
from convsv_cli.model.graph import Graph, Node
from convsv_cli.model.layer import CONV, TRANSPOSED

FAMILIES = (elementwise, arithmetic, linear, pooling, movement, resizing)
ROWS: Table = {op: lower for family in FAMILIES for op, lower in family.ROWS.items()}
LOWERED = 40 * limits.OBJECT
"""Steps of the model's allowance for each node and input."""
SPATIAL = frozenset(
    (
        "AveragePool",
        CONV,
        TRANSPOSED,
        "Flatten",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "MaxPool",
        "Resize",
        "Upsample",
    )
)


def lowered(
    graph: Graph,
    starts: Sequence[str],
    pieces: Sequence[tuple[Sequence[Node], Sequence[str]]],
    ranges: Ranges,
    *,
    reading: bool = True,
) -> list[Program]:
    """The programs from some tensors to the ends of ever more pieces of a graph, while each node has a row.

    Args:
        graph: that the nodes are in.
        starts: names of tensors.
        pieces: one after the other: their nodes in topological order, and the tensors at their end.
        ranges: what is known of tensors.
        reading: whether kernels are read; else programs are good for plans alone, and those with kernels may
            be fewer, for what is no number is seen only then.

    Raises:
        LimitError: the model's steps are used up.
    """
    to = Lowering(graph, ranges, reading=reading)
    found: list[Program] = []
    try:
        _begin(to, starts, [node for nodes, _ in pieces for node in nodes])
        for nodes, ends in pieces:
            for node in nodes:
                _lower(node, to)
            found.append(to.program(starts, ends))
    except (NoRowError, UnboundedError, *MALFORMED):
        pass
    return found


def refused(graph: Graph, starts: Sequence[str]) -> Node | None:
    """The first node of a graph that has no steps; None where that is true of its inputs, or of none.

    Args:
        graph: of which nothing is known but its shapes.
        starts: names of tensors.
    """
    to, reached = Lowering(graph, {}), None
    with suppress(NoRowError, UnboundedError, *MALFORMED):
        _begin(to, starts, graph.main.nodes)
        for reached in graph.main.nodes:
            _lower(reached, to)
        reached = None
    return reached


def _begin(to: Lowering, starts: Sequence[str], nodes: Sequence[Node]) -> None:
    last = not any(node.op in SPATIAL for node in nodes)
    for start in starts:
        to.source(start, last=last)


def _lower(node: Node, to: Lowering) -> None:
    if not any(to.varies(name) for name in needs(node)) and not by_chance(node):
        return
    row = ROWS.get(node.op)
    if row is None or node.bodies:
        raise NoRowError
    limits.spend(LOWERED * (1 + len(node.inputs)), "preparing covariance propagation", share=0.5)
    row(node, to)
