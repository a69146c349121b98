"""How far the errors of all quantisers together can move the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from convsv_cli.lipschitz.dependencies import ending_at, real_outputs
from convsv_cli.lipschitz.ends import Ends, between, only
from convsv_cli.lipschitz.segments import Composed, Segment
from convsv_cli.model.graph import Graph
from convsv_cli.numerics.rounding import UP, times, total
from convsv_cli.report import NORMAL, QUICK, THOROUGH, NetworkBound

ROUNDS = "its quantisers give the nearest of their steps, and no sum of whole numbers overflows"
BEHIND = {QUICK: 2, NORMAL: 4, THOROUGH: 8}
"""From how many tensors on a network is bounded as one of its own, by effort."""
SECOND = 1.5
"""How many times as long as usual the bounds of both terms may take."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How graphs are bounded, from all inputs to all outputs.

    Attributes:
        whole: as well as the user asks for.
        quick: in a moment.
        simplify: makes a graph one that has smaller bounds, with the same inputs.
        compose: bounds the pieces of that by rules.
        tensors: from how many of them on the network is bounded as one of its own.
        patience: how many times as many multiplications as usual both terms may take together.
    """

    whole: Callable[[Graph], NetworkBound]
    quick: Callable[[Graph], NetworkBound]
    simplify: Callable[[Graph], Graph]
    compose: Callable[[Graph], Composed]
    tensors: int
    patience: float


def added(graph: Graph, inputs: Sequence[str], most: Mapping[str, float], bounds: Bounds) -> float:
    """The sum of L_i d_i over all errors i; infinite where one has no bound.

    From the inputs, everything passes the ends of segments, so all from an error does that enters before such
    an end: L_i is no more than the bound up to it, times those of the segments behind it. Instead of all of
    these, those up to another end and the bound of the rest count, which is bounded as a network of its own:
    there are a few such ends.

    Args:
        graph: with ranges of all errors.
        inputs: of the network, without errors.
        most: d_i, by error.
        bounds: how graphs are bounded.
    """
    simple = bounds.simplify(graph)
    free = replace(simple, ranges={**simple.ranges, **bounds.compose(simple).ranges})
    segments = bounds.compose(only(free, *inputs)).segments
    rest = _rest(free, segments, bounds)
    place = {node.name: index for index, segment in enumerate(segments) for node in segment.nodes}
    terms = []
    for name, difference in most.items():
        within = min((place.get(node.name, -1) for node in free.users.get(name, ())), default=-1)
        end = segments[within].end if within >= 0 else ""
        alone = only(ending_at(free, end) if end else free, name)
        pieces = [segment.factor for segment in bounds.compose(alone).segments]
        terms.append(times(*pieces, rest[within] if end else 1.0, difference, UP))
    return total(terms) if all(map(math.isfinite, terms)) else math.inf


def _rest(graph: Graph, segments: Sequence[Segment], bounds: Bounds) -> list[float]:
    """For each segment, the bound from its end to the outputs."""
    ends = [index for index, segment in enumerate(segments) if segment.end][:-1]
    count = min(bounds.tensors, len(ends))
    chosen = {ends[(2 * index + 1) * len(ends) // (2 * count)] for index in range(count)}
    found = [1.0] * len(segments)
    for index in reversed(range(len(segments) - 1)):
        found[index] = times(found[index + 1], segments[index + 1].factor)
        if index in chosen:
            ends_at = Ends(sources=(segments[index].end,), targets=real_outputs(graph))
            found[index] = min(found[index], bounds.quick(between(graph, ends_at)).lipschitz)
    return found
