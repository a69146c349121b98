"""Operators with weights that are no linear maps, or none that convsv knows, and why not."""

from __future__ import annotations

import math
from collections.abc import Callable

from convsv_cli.model.graph import Graph, Node
from convsv_cli.model.layer import LOOK_UP
from convsv_cli.model.linear_map import Maps, computed, unsupported

DEFORMABLE = "a deformable convolution: its taps depend on the input"
FOREIGN = "an operator of the domain {domain!r}, which convsv does not know"


def gather(node: Node, graph: Graph) -> Maps:
    """A look-up in a constant table of floats, by indices that vary."""
    table = computed(graph, node.input(0))
    if table is None or node.input(1) in graph.constants:
        return
    if len(table.shape) >= 2 and table.dtype.startswith(("float", "bfloat")):
        yield unsupported(node, LOOK_UP, table, applicable=False)


def unknown(reason: str) -> Callable[[Node, Graph], Maps]:
    """The rule of an operator that convsv cannot audit, but only where it has weights."""

    def rule(node: Node, graph: Graph) -> Maps:
        constants = [computed(graph, node.input(index)) for index in range(len(node.inputs))]
        weights = [c for c in constants if c is not None and sum(size > 1 for size in c.shape) >= 2]
        if weights:
            yield unsupported(node, reason, max(weights, key=lambda c: math.prod(c.shape)))

    return rule


def foreign(node: Node, graph: Graph) -> Maps:
    """Of a domain other than ONNX's own."""
    return unknown(FOREIGN.format(domain=node.op.rpartition(".")[0]))(node, graph)


RULES = {**dict.fromkeys(("Gather", "GatherElements", "GatherND"), gather), "DeformConv": unknown(DEFORMABLE)}
