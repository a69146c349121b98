"""The bound of segments in a row, from one recursion through all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from convsv_cli import deadline, limits
from convsv_cli.lipschitz.density.attempts import PROOF, Outcome, Run, best_of
from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.lowering import lowered
from convsv_cli.lipschitz.density.plan import CALLS, planned
from convsv_cli.lipschitz.density.program import Program, UnplannedError
from convsv_cli.lipschitz.density.ranges import Ranges
from convsv_cli.lipschitz.density.sizes import InfeasibleError
from convsv_cli.lipschitz.density.window import entries
from convsv_cli.lipschitz.dependencies import real_outputs, sources
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.lipschitz.segments import Segment
from convsv_cli.model.graph import Graph

PASSES = 10
"""Of a program, at least, that its bound takes."""
LOWERED, COPIED, PLANNED = 1e6, 1e4, 2e5
"""Multiplications in the time in which a node is lowered, and is part of a program, or a step is planned."""
AHEAD = 4
"""How many times as many segments as the last stretch had are looked at for the next one: all that are left
would be lowered, from each start."""
WHAT = "looking for what covariances can be propagated through"
NOTHING: Ranges = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """Segments that one recursion leads through.

    Attributes:
        segments: in order.
        run: what leads through them.
    """

    segments: tuple[Segment, ...]
    run: Run


@dataclass(frozen=True, kw_only=True, eq=False)
class Routed:
    """What covariance propagation makes of the segments of a graph.

    Attributes:
        segments: those that were bounded together are one.
        output: of a network that ends in one field of one position that the last segment bounds, a valid
            covariance from its start, float64 [c, c]; else None.
    """

    segments: tuple[Segment, ...]
    output: torch.Tensor | None = None


def routed(graph: Graph, segments: Sequence[Segment], effort: Effort, ranges: Ranges = NOTHING) -> Routed:
    """Bound runs of segments by covariance propagation where that gives less than the rules.

    Args:
        graph: that they are of.
        segments: of the whole graph, in order, as the rules bound them.
        effort: how long multipliers are looked for.
        ranges: what is known of tensors; the bound holds for inputs of which this is true.
    """
    found: list[Segment] = []
    output = None
    chosen: list[Stretch | Segment] = [*segments]  # the rules' bounds are all that there is without another
    with suppress(limits.LimitError), deadline.ending():
        chosen = stretches(graph, segments, effort, ranges)
    count, done = sum(isinstance(each, Stretch) for each in chosen), 0
    for stretch in chosen:
        output = None
        if isinstance(stretch, Segment):
            found.append(stretch)
            continue
        part = replace(effort, searches=count).part(done / count, (done + 1) / count)
        outcome, done = None, done + 1
        with deadline.ending():
            outcome = best_of(stretch.run, part)
            part.tell(1.0)
        if outcome is None or not outcome.bound < math.prod(each.factor for each in stretch.segments):
            found.extend(stretch.segments)
        else:
            found.append(_together(stretch.segments, outcome))
            output = _single(outcome.covariances, stretch.run.program)
    return Routed(segments=tuple(found), output=output)


def stretches(
    graph: Graph, segments: Sequence[Segment], effort: Effort, ranges: Ranges = NOTHING
) -> list[Stretch | Segment]:
    """The longest stretches that have a program, and the segments between them.

    Args:
        graph, segments, effort, ranges: as of `routed`.
    """
    found: list[Stretch | Segment] = []
    left = list(segments)
    reach = len(left)
    while left:
        stretch = _longest(graph, left[:reach], effort, ranges)
        count = 1 if stretch is None else len(stretch.segments)
        if stretch is not None and count == reach < len(left):  # a longer one may have a program, too
            reach *= 2
            continue
        found.append(left[0] if stretch is None else stretch)
        del left[:count]
        reach = AHEAD * count
    return found


def _longest(graph: Graph, segments: Sequence[Segment], effort: Effort, ranges: Ranges) -> Stretch | None:
    """The longest run from the first segment on whose fields have tori that are not too large."""
    start = segments[0].start
    most = limits.searchable(1.0) / PASSES
    segments = segments[: int(min(len(segments), most / CALLS + 1))]  # further ones would cost too much
    nodes = sum(len(each.nodes) for each in segments)
    limits.begin_search((LOWERED + COPIED * len(segments)) * nodes, WHAT, share=1.0)
    pieces = [(each.nodes, (each.end,) if each.end else real_outputs(graph)) for each in segments]
    starts = (start,) if start else sources(graph)
    programs = lowered(graph, starts, pieces, ranges, reading=False)
    for count in range(len(programs), 0, -1):
        steps = len(programs[count - 1].steps)
        if not steps or CALLS * steps > most:
            continue
        limits.begin_search(PLANNED * steps, WHAT, share=1.0)
        try:
            plan = planned(programs[count - 1], min(effort.most, most), effort.room)
        except UnplannedError:
            continue
        run = Run(programs=tuple(programs[:count]), plan=plan)
        if not plan.fits(effort.most - run.measuring / PROOF, effort.room) or plan.cost > most:
            continue
        read = lowered(graph, starts, pieces[:count], ranges)
        if len(read) == count:
            return Stretch(segments=tuple(segments[:count]), run=replace(run, programs=tuple(read)))
    return None


def _together(segments: Sequence[Segment], outcome: Outcome) -> Segment:
    """One segment; each of those that it is made of has the factor by which the bound grows along it."""
    before, steps = 1.0, []
    for segment, after in zip(segments, outcome.levels, strict=True):
        steps.append(replace(segment, factor=after / before if before else 0.0))
        before = after
    nodes = tuple(node for segment in segments for node in segment.nodes)
    start, end = segments[0].start, segments[-1].end
    return Segment(start=start, end=end, nodes=nodes, factor=outcome.bound, steps=tuple(steps))


def _single(covariances: Sequence[Covariance], program: Program) -> torch.Tensor | None:
    """The covariance of all entries of one field: of one position, or once the torus was left."""
    if len(covariances) != 1 or len(covariances[0].fields) != 1:
        return None
    try:
        plain = covariances[0].with_scale(1.0)
    except InfeasibleError:  # beyond what is kept of numbers
        return None
    block = plain.blocks[plain.fields[0], plain.fields[0]]
    whole = block.shape[-1] == entries(program.fields[plain.fields[0]])
    return block[0].real if len(block) == 1 and whole else None
