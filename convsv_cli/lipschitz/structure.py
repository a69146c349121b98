"""What of a graph a product over its layers does not see, counted for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from convsv_cli.lipschitz.dependencies import needs, relevant, sources
from convsv_cli.model.graph import Graph, Node

PLURALS = {
    "skip": "skips",
    "sum": "sums",
    "branch": "branches",
    "BatchNorm": "BatchNorms",
    "concatenation": "concatenations",
    "pooling layer": "pooling layers",
}


def structure_of(graph: Graph) -> tuple[str, ...]:
    """Skips, sums, branches and the like between the inputs and the outputs, such as "9 skips"."""
    counts: Counter[str] = Counter()
    origins = {name: {name} for name in sources(graph)}
    for node in relevant(graph):
        counts.update(_kinds(graph, node, origins))
        all_ = set[str]().union(*(origins.get(name, ()) for name in needs(node)))
        origins |= dict.fromkeys(node.outputs, all_)
    return tuple(f"{count} {kind if count == 1 else PLURALS[kind]}" for kind, count in counts.items())


def _kinds(graph: Graph, node: Node, origins: Mapping[str, set[str]]) -> list[str]:
    """What a node is to a reader; a sum is a skip where some input comes to it on two ways."""
    names = {
        "Concat": "concatenation",
        "If": "branch",
        "BatchNormalization": "BatchNorm",
        "MaxPool": "pooling layer",
        "AveragePool": "pooling layer",
        "GlobalAveragePool": "pooling layer",
    }
    varying = [name for name in node.inputs if name and name not in graph.constants]
    if node.op in ("Add", "Sub", "Sum") and len(varying) > 1:
        ways = Counter(origin for name in varying for origin in origins.get(name, ()))
        return ["skip" if max(ways.values(), default=2) > 1 else "sum"]
    return [names[node.op]] if node.op in names else []
