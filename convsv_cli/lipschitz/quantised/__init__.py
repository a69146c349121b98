"""Networks that are quantised: what they differ by from ones with no steps, and what two of their outputs do.

A quantiser and its dequantiser are y = s (clip(round(x / s) + z, low, high) - z), with a scale s and a zero
point z, for all entries or for each channel: y jumps, and has no Lipschitz constant. But y = c(x) + e(x),
where c clips x to the range of y and is non-expansive, and no entry of e is above s / 2: s round(x / s) is so
close to x, and clipping both brings them no further apart.

A DynamicQuantizeLinear finds s = (b - a) / 255 and z = round(-a / s) in its own input, with a = min(0, min x)
and b = max(0, max x); where both are 0, it rounds nothing. With -a / s = z + d, and |d| <= 1/2 as z is the
nearest whole number, all x / s are in [-z - d, 255 - z - d]. The whole number nearest to one of them is in
[-z, 255 - z], so that nothing is clipped, and no further away than 1/2. Or else |d| = 1/2, and x / s, in the
middle between an end and the number beyond, is rounded to the latter and clipped to the end, which is 1/2
away, too. So y = x + e(x) with no entry of e above s / 2, and s is bounded where the range of x is. It varies
with x, but what codes stand for is y, whatever their scale and zero point.

Now let the errors be inputs of the network as well. With L its bound where they are held, and L_i that from
the error i to the outputs where all else is held,

    |f(x) - f(y)| <= L |x - y| + sum_i L_i |e_i(x) - e_i(y)| <= L |x - y| + sum_i L_i d_i,

by moving from the values of one run to those of the other in turn, with d_i the root of the sum of s^2 over
all entries, none of which differs by more than s. Ranges hold for all values of the inputs in their own, so
for those on the way, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from convsv_cli import limits
from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.dependencies import ending_at, real_outputs, sources
from convsv_cli.lipschitz.ends import Ends, between, only
from convsv_cli.lipschitz.pairs import because
from convsv_cli.lipschitz.quantised.operators import OPERATORS
from convsv_cli.lipschitz.quantised.smoothing import Error, Smoothing
from convsv_cli.lipschitz.segments import Composed, Segment
from convsv_cli.model.graph import Graph
from convsv_cli.numerics.intervals import ANYTHING, Range
from convsv_cli.numerics.rounding import UP, times, total
from convsv_cli.report import NORMAL, QUICK, THOROUGH, NetworkBound, Quantised

BEYOND = "it is beyond 1e308"
GROWS = "the steps of {} (DynamicQuantizeLinear) grow with its input, which is open: --input-range may help"
STEPS = 255
"""Of a DynamicQuantizeLinear."""
VISIT = 4 * limits.OBJECT
"""Steps of bounding one node."""
ROUNDS = "its quantisers give the nearest of their steps, and no sum of whole numbers overflows"
BEHIND = {QUICK: 2, NORMAL: 4, THOROUGH: 8}
"""From how many tensors on a network is bounded as one of its own, by effort."""
SECOND = 1.5
"""How many times as long as usual the bounds of both terms may take."""


def quantised(graph: Graph, bounds: Bounds) -> Quantised | None:
    """What is proven of a network that rounds; None for another one.

    Args:
        graph: at one input size.
        bounds: how.
    """
    found = Smoothing(graph).result(OPERATORS)
    if not found.errors:
        return None
    none = Quantised(lipschitz=math.inf, added=math.inf, quantisers=len(found.errors))
    limits.expect(bounds.patience)
    try:
        _spend(found.graph, len(found.errors))
        smooth, most, open_ = _ranged(found.graph, found.errors, bounds)
    except LimitError as error:
        return replace(none, reason=str(error))
    whole = bounds.whole(only(smooth, *sources(graph)))
    if not math.isfinite(whole.lipschitz):
        return replace(none, reason=whole.reason or because(whole.obstacles) or BEYOND)
    if open_:
        return replace(none, reason=GROWS.format(open_[0].quantiser))
    steps = added(smooth, sources(graph), most, bounds)
    if not math.isfinite(steps):
        return replace(none, reason=BEYOND)
    return replace(none, lipschitz=whole.lipschitz, added=steps)


def _spend(graph: Graph, times_bounded: int) -> None:
    """Ask for the steps of bounding a graph."""
    limits.spend(VISIT * times_bounded * len(graph.main.nodes), "bounding quantisers", share=0.5)


def _ranged(
    graph: Graph, errors: Mapping[str, Error], bounds: Bounds
) -> tuple[Graph, dict[str, float], list[Error]]:
    """The graph with the ranges of errors, what each may differ by, and those of which that is not known.

    What one quantiser gives may bound the input of the next one.

    Raises:
        LimitError: that takes more steps than the model may.
    """
    simple = bounds.simplify(graph)
    most = {name: error.most for name, error in errors.items() if not error.dynamic}
    open_ = {name: error for name, error in errors.items() if error.dynamic}
    found = True
    while open_ and found:
        found = False
        _spend(graph, 1)
        known = bounds.compose(replace(simple, ranges=graph.ranges)).ranges
        for name, error in list(open_.items()):
            source = known.get(_beside(name, simple), ANYTHING)
            if not source.finite:
                continue
            step = times(max(source.upper, 0.0) - min(source.lower, 0.0), UP / STEPS, UP)
            most[name] = times(step, error.most, UP)
            graph = replace(graph, ranges={**graph.ranges, name: Range(lower=-step / 2, upper=step / 2)})
            del open_[name]
            found = True
    return graph, most, list(open_.values())


def _beside(error: str, graph: Graph) -> str:
    """The tensor that an error is added to."""
    for node in graph.users.get(error, ()):
        if node.op == "Add" and node.inputs[1] == error:
            return node.inputs[0]
    return ""


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
