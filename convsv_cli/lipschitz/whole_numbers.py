"""Networks whose inputs are whole numbers, such as the pixels of images, and become real ones in a Cast."""

from __future__ import annotations

from dataclasses import replace

from convsv_cli.lipschitz.dependencies import REAL, needs, sources
from convsv_cli.model.graph import Graph, Node
from convsv_cli.numerics.intervals import range_of_type

FEW = frozenset(("uint8", "int8", "uint16", "int16"))
"""Types of so few bits that all those of more hold their numbers."""
WHOLE = frozenset((*FEW, "uint32", "int32", "uint64", "int64"))
WIDE = frozenset(("int32", "int64"))
COUNTED = "the perturbation is of the whole numbers of the input {!r} ({})"
MOVING = frozenset((
    "Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Split",
    "Expand", "Tile", "Concat", "DepthToSpace", "SpaceToDepth",
))  # fmt: skip
"""Operators whose results are entries of their first input; of any, for a Concat."""
SHAPES = ("Shape", "Size")


def as_real(graph: Graph, *, ranged: bool) -> Graph:
    """The same network on real numbers, of which whole ones are some, where it has no input of others.

    Each of its inputs must be of whole numbers, and reach the rest through a Cast to real ones alone: that is
    the identity on them, and so is one to whole numbers that hold all of its own. Then a bound of the network
    on real numbers is one on whole numbers. These tensors have the type of real ones here, and inputs of few
    bits are in the range of their type. Other graphs are as they were.

    Args:
        graph: at one input size.
        ranged: whether something else is known of what its inputs are in, which is kept to.
    """
    inputs = [name for name in graph.inputs if name not in graph.held]
    if sources(graph) or not inputs or not all(graph.dtypes.get(name) in WHOLE for name in inputs):
        return graph
    moved = _moved(graph, inputs)
    if moved is None:
        return graph
    kinds = {name: graph.dtypes[name] for name in inputs if not ranged}
    few = {name: range_of_type(kind) for name, kind in kinds.items() if kind in FEW}
    nodes = tuple(
        replace(node, op="Identity", attributes={})
        if node.op == "Cast" and node.outputs[0] in moved
        else node
        for node in graph.main.nodes
    )
    return replace(
        graph,
        main=replace(graph.main, nodes=nodes),
        dtypes={**graph.dtypes, **dict.fromkeys(moved, "float")},
        ranges={**few, **graph.ranges},
        assumed=(*graph.assumed, *(COUNTED.format(name, graph.dtypes[name]) for name in inputs)),
    )


def _moved(graph: Graph, inputs: list[str]) -> set[str] | None:
    """All tensors of entries of the inputs; None where something else than a Cast uses one of these."""
    moved, met = set(inputs), False
    for node in graph.main.nodes:
        if moved.isdisjoint(needs(node)) or node.op in SHAPES:
            continue
        if not _keeps(node, graph, moved):
            return None
        if node.op == "Cast" and graph.dtypes.get(node.outputs[0]) in REAL:
            met = True
        else:
            moved.update(filter(None, node.outputs))
    return moved if met and moved.isdisjoint(graph.main.outputs) else None


def _keeps(node: Node, graph: Graph, moved: set[str]) -> bool:
    """Whether the results of a node are entries of its data, which some inputs are."""
    if node.op == "Cast":
        before, after = (graph.dtypes.get(name, "") for name in (node.inputs[0], node.outputs[0]))
        return after in REAL or after == before or (before in FEW and after in WIDE)
    data = node.inputs if node.op == "Concat" else node.inputs[:1]
    return node.op in MOVING and moved.issuperset(data) and moved.isdisjoint(node.inputs[len(data) :])
