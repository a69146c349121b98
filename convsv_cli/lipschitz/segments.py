"""What composing a graph gives: its segments, and the nodes that have no bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convsv_cli.model.graph import Node
from convsv_cli.numerics.intervals import Range


@dataclass(frozen=True, kw_only=True)
class Offence:
    """A node without a bound, and why."""

    node: Node
    reason: str


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What lies between two bottlenecks.

    Attributes:
        start, end: the tensors; empty for all inputs, and for all outputs.
        nodes: in order, but those in bodies.
        factor: upper bound of the Lipschitz constant from `start` to `end`; infinite where there is none.
        steps: what it is made of, where several segments were bounded together: the factor of each is that by
            which the bound grows along it, and bounds nothing by itself.
    """

    start: str
    end: str
    nodes: tuple[Node, ...]
    factor: float
    steps: tuple[Segment, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Composed:
    """The segments, one after the other, and every node that has no bound.

    Attributes:
        ranges: what the entries of tensors are in, by name.
        outputs: bounds of the real outputs from the last tensor that is the end of a segment, by name.
    """

    segments: tuple[Segment, ...]
    offences: tuple[Offence, ...]
    ranges: Mapping[str, Range]
    outputs: Mapping[str, float]


def logarithm(segments: Sequence[Segment]) -> float:
    """The logarithm of the product; what does not vary is not amplified, whatever comes before it."""
    factors = [segment.factor for segment in segments]
    return -math.inf if 0 in factors else math.fsum(map(math.log10, factors))


def best(first: Sequence[Segment], second: Sequence[Segment]) -> tuple[Segment, ...]:
    """Between the bottlenecks that two graphs of one network share, the segments of the one with the less.

    Where one of them shows that nothing is amplified at all, there is no more to say.

    Args:
        first, second: in order, from the same inputs to the same outputs.
    """
    for constant in (first, second):
        if any(segment.factor == 0 for segment in constant):
            return tuple(constant)
    common = {segment.end for segment in first} & {segment.end for segment in second}
    pairs = zip(_runs(first, common), _runs(second, common), strict=True)
    return tuple(
        segment for one, other in pairs for segment in (one if logarithm(one) < logarithm(other) else other)
    )


def _runs(segments: Sequence[Segment], ends: set[str]) -> list[list[Segment]]:
    """The segments, a run up to each of the ends."""
    runs: list[list[Segment]] = [[]]
    for segment in segments:
        runs[-1].append(segment)
        if segment.end in ends:
            runs.append([])
    return [run for run in runs if run]


def up_to(tensor: str, segments: Sequence[Segment], inputs: Sequence[str]) -> Sequence[Segment] | None:
    """The segments before a tensor; None where it is the end of none.

    Args:
        tensor: its name.
        segments: in order.
        inputs: of the graph.
    """
    if tensor in inputs:
        return ()
    ends = [segment.end for segment in segments]
    return segments[: ends.index(tensor) + 1] if tensor in ends else None
