"""The linear maps that a node is by its constants: one rule per operator type."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from convsv_cli.model.graph import UNREADABLE, Graph, Node, UnknownValueError
from convsv_cli.model.linear_map import LinearMap, Maps, Unsupported, unsupported
from convsv_cli.model.linear_maps import (
    convolution,
    few_bits,
    matrices,
    quantised,
    recurrent,
    unaudited,
)

FAMILIES = tuple(
    family.RULES for family in (convolution, few_bits, matrices, quantised, recurrent, unaudited)
)
RULES: Mapping[str, Callable[[Node, Graph], Maps]] = {
    op: rule for family in FAMILIES for op, rule in family.items()
}
"""By operator type, with its domain before it where that is not ONNX's own."""


def linear_maps(node: Node, graph: Graph) -> list[LinearMap | Unsupported]:
    """The linear maps of a node, in the order of their weights; none for a node without weights.

    Args:
        node: of the graph, or of a body in it.
        graph: knows its constants, and the shapes of its other inputs.
    """
    rule = RULES.get(node.op, unaudited.foreign if "." in node.op else None)
    if node.op.startswith(UNREADABLE):
        rule = unaudited.unknown(node.attribute("reason", ""))
    try:
        return list(rule(node, graph)) if rule else []
    except UnknownValueError as error:
        return [unsupported(node, str(error))]
