"""How far the errors of all quantisers together can move the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from convsv_cli.lipschitz.dependencies import real_outputs, sources
from convsv_cli.lipschitz.ends import Ends, between, only
from convsv_cli.lipschitz.segments import Composed, up_to
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
    """

    whole: Callable[[Graph], NetworkBound]
    quick: Callable[[Graph], NetworkBound]
    simplify: Callable[[Graph], Graph]
    compose: Callable[[Graph], Composed]
    tensors: int


def added(graph: Graph, inputs: Sequence[str], most: Mapping[str, float], bounds: Bounds) -> float:
    """The sum of L_i d_i over all errors i; infinite where one has no bound.

    L_i is a product of the bounds of pieces, by rules. Where everything from the error on passes a tensor, it
    is no more than the bound up to that, by rules, times that of the rest, which is bounded as a network of
    its own: there are a few such tensors.

    Args:
        graph: with ranges of all errors.
        inputs: of the network, without errors.
        most: d_i, by error.
        bounds: how graphs are bounded.
    """
    simple = bounds.simplify(graph)
    known = bounds.compose(simple)
    free = replace(simple, ranges={**simple.ranges, **known.ranges})
    pieces = {name: bounds.compose(only(free, name)).segments for name in most}
    behind: dict[str, float] = {}
    for tensor in _spread(bounds.compose(only(free, *inputs)), bounds.tensors):
        rest = between(free, Ends(sources=(tensor,), targets=real_outputs(free)))
        if sources(rest):
            behind[tensor] = bounds.quick(rest).lipschitz
    terms = []
    for name, segments in pieces.items():
        ways = [times(*(segment.factor for segment in segments))]
        for tensor, rest_bound in behind.items():
            before = up_to(tensor, segments, (name,))
            if before is not None:
                ways.append(times(*(segment.factor for segment in before), rest_bound))
        terms.append(times(min(ways), most[name], UP))
    return total(terms) if all(map(math.isfinite, terms)) else math.inf


def _spread(known: Composed, most: int) -> list[str]:
    """So many tensors that everything passes, at equal distances."""
    ends = [segment.end for segment in known.segments if segment.end][:-1]
    count = min(most, len(ends))
    return [ends[(2 * index + 1) * len(ends) // (2 * count)] for index in range(count)]
