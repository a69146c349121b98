"""What reports say of a graph: its blocks and their product, what leaves it without one, its structure."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import groupby

import numpy as np

from convsv_cli.lipschitz.dependencies import needs, relevant, sources
from convsv_cli.lipschitz.segments import Offence, Segment, logarithm
from convsv_cli.model.graph import Body, Graph, Node, UnknownValueError
from convsv_cli.numerics.rounding import times
from convsv_cli.report import BOUNDED, COVARIANCE, UNBOUNDED, Block, NetworkBound, Obstacle, Part, shared
from convsv_cli.report import RULES as BY_RULES

ONE = 1 + 1e-9  # factors up to here are no news
LARGEST = 2**22
"""The most elements of a constant that is checked here; larger ones are weights, checked as rows."""
UNDEFINED = "its {} {!r} holds NaN"
PLURALS = {
    "skip": "skips",
    "sum": "sums",
    "branch": "branches",
    "BatchNorm": "BatchNorms",
    "concatenation": "concatenations",
    "pooling layer": "pooling layers",
}


def obstacle(offence: Offence) -> Obstacle:
    """What reports say of a node without a bound."""
    return Obstacle(node=offence.node.name, op=_ops(offence.node)[-1], reason=offence.reason)


def summarised(
    segments: Sequence[Segment], offences: Sequence[Offence], rows: Mapping[str, tuple[str, ...]]
) -> NetworkBound:
    """The bound of segments in a row.

    Args:
        segments: in order.
        offences: every node that has no bound.
        rows: of the audit, that each node is, by the node's name.
    """
    blocks = _blocks(segments, rows)
    obstacles = tuple(map(obstacle, offences))
    factors = [segment.factor for segment in segments]
    if math.inf in factors and 0 not in factors:
        return NetworkBound(status=UNBOUNDED, blocks=blocks, obstacles=obstacles, parts=_parts(blocks))
    product = 0.0 if 0 in factors else max(times(*factors), sys.float_info.min)
    log10 = logarithm(segments) + 1e-12 if product else None
    return NetworkBound(status=BOUNDED, lipschitz=product, log10=log10, blocks=shared(blocks))


def _blocks(segments: Sequence[Segment], rows: Mapping[str, tuple[str, ...]]) -> tuple[Block, ...]:
    """The segments, and what those that were bounded together are made of."""
    found: list[Block] = []
    for route, run in groupby(segments, lambda segment: COVARIANCE if segment.steps else BY_RULES):
        parts = [part for segment in run for part in segment.steps or (segment,)]
        most = math.inf if route == COVARIANCE else ONE
        found.extend(_block(group, rows, route) for group in _groups(parts, rows, most))
    return tuple(found)


def _groups(
    segments: Sequence[Segment], rows: Mapping[str, tuple[str, ...]], most: float
) -> list[list[Segment]]:
    """Those without layers, and with a factor of at most so much, belong to the one before them."""
    groups: list[list[Segment]] = []
    for segment in segments:
        layers = [row for node in segment.nodes for row in rows.get(node.name, ())]
        if groups and not layers and segment.factor <= most:
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups


def _block(segments: list[Segment], rows: Mapping[str, tuple[str, ...]], route: str) -> Block:
    nodes = [node for segment in segments for node in segment.nodes]
    layers = tuple(dict.fromkeys(row for node in nodes for row in rows.get(node.name, ())))
    ops = tuple(dict.fromkeys(op for node in nodes for op in _ops(node)))
    return Block(
        name=_common(layers) or (nodes[0].name if nodes else ""),
        ops=ops,
        layers=layers,
        start=segments[0].start,
        end=segments[-1].end,
        factor=times(*(segment.factor for segment in segments)),
        route=route,
    )


def _ops(node: Node) -> tuple[str, ...]:
    """The operators that a node stands for: several where it was collapsed."""
    return node.attribute("ops", (node.op,))


def _common(layers: tuple[str, ...]) -> str:
    """The module that the layers share; the first and the last where they share none."""
    parts = [layer.split(".") for layer in layers]
    if len(parts) < 2:
        return layers[0] if layers else ""
    shared = 0
    while all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return ".".join(parts[0][:shared]) or f"{layers[0]} … {layers[-1]}"


def _parts(blocks: tuple[Block, ...]) -> tuple[Part, ...]:
    """The longest runs of blocks that have a bound."""
    runs = (list(run) for bounded, run in groupby(blocks, lambda b: math.isfinite(b.factor)) if bounded)
    return tuple(
        Part(
            start=run[0].start,
            end=run[-1].end,
            blocks=len(run),
            lipschitz=times(*(block.factor for block in run)),
        )
        for run in runs
    )


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
