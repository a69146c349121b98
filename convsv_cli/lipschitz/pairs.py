"""One bound for each pair of an input and an output, and what these say of all of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from convsv_cli import limits
from convsv_cli.lipschitz.dependencies import ending_at, real_outputs, sources
from convsv_cli.lipschitz.ends import depends, only
from convsv_cli.lipschitz.norms import Norms
from convsv_cli.lipschitz.reported import defined, obstacle
from convsv_cli.lipschitz.segments import Composed
from convsv_cli.model.graph import Graph, Node
from convsv_cli.numerics.rounding import root_of_squares, times
from convsv_cli.report import BOUNDED, NetworkBound, Obstacle, PairBound

MOST = 64
"""Pairs that are bounded."""
SKIPPED = "bounds of pairs: only the first {} of {} were computed; --from and --to choose others"
INDEPENDENT = "it does not depend on it"
BEYOND = "its bound is beyond 1e308"
Compose = Callable[[Graph], Composed]


@dataclass(frozen=True, kw_only=True, eq=False)
class Remembered(Norms):
    """Norms that are found once a node, in whichever graph that is."""

    found: dict[Node, tuple[float, ...]] = field(default_factory=dict)

    def __call__(self, node: Node, graph: Graph) -> tuple[float, ...]:
        """As `Norms`."""
        if node not in self.found:
            self.found[node] = super().__call__(node, graph)
        return self.found[node]

    @classmethod
    def of(cls, norms: Norms) -> Remembered:
        """These norms."""
        if isinstance(norms, Remembered):
            return norms
        return cls(rows=norms.rows, of_row=norms.of_row, of_kernel=norms.of_kernel)


def apart(graph: Graph, whole: Composed, compose: Compose) -> tuple[Composed, ...]:
    """The graph composed with one input perturbed and the others held fixed, for each of the first inputs.

    For none where that would take more steps than the model may.

    Args:
        graph: with an input and an output of real numbers.
        whole: composed with all of them perturbed, which tells what tensors are in.
        compose: composes a graph.
    """
    starts = sources(graph)
    if len(starts) == 1:
        return (whole,)
    first = starts[: -(-MOST // len(real_outputs(graph)))]
    try:
        limits.spend(
            limits.OBJECT * len(graph.main.nodes) * len(first), "bounding pairs of inputs and outputs"
        )
    except limits.LimitError:
        return ()
    return tuple(compose(replace(only(graph, start), ranges=whole.ranges)) for start in first)


def tightened(graph: Graph, whole: Composed, alone: Sequence[Composed]) -> Composed:
    """All inputs together, with a first segment no larger than the inputs alone allow it: see `norm_of`.

    Args:
        graph: that was composed.
        whole: with all inputs perturbed.
        alone: with one of them perturbed each.
    """
    if not 1 < len(alone) == len(sources(graph)) or not whole.segments:
        return whole
    first = whole.segments[0]
    table = [_reached(each, (first.end,) if first.end else real_outputs(graph)) for each in alone]
    factor = min(first.factor, norm_of(table))
    return replace(whole, segments=(replace(first, factor=factor), *whole.segments[1:]))


def pair_bounds(
    graph: Graph, parts: Mapping[Graph, Sequence[Composed]], joint: float
) -> tuple[PairBound, ...]:
    """A bound for each of the first `MOST` pairs; none where there is one input and one output.

    Args:
        graph: whose inputs and outputs they are.
        parts: what it was rewritten as, and each of these composed with one input perturbed.
        joint: bound from all inputs to all outputs, which no pair exceeds; infinite for none.
    """
    starts, ends = sources(graph), real_outputs(graph)
    if len(starts) * len(ends) < 2:
        return ()
    bounded = min(map(len, parts.values()))
    whole = NetworkBound(status=BOUNDED, lipschitz=0.0)
    spoilt = bool(defined(whole, graph).obstacles)
    found: list[PairBound] = []
    for index, start in enumerate(starts[:bounded]):
        for end in ends[: MOST - len(found)]:
            each = [_pair(start, end, part, alone[index]) for part, alone in parts.items()]
            pair = min(each, key=lambda one: one.lipschitz)
            if spoilt and (why := defined(whole, ending_at(graph, end)).obstacles):
                pair = replace(pair, lipschitz=math.inf, reason=because(why))
            elif pair.lipschitz > joint:
                pair = replace(pair, lipschitz=joint, reason="")
            found.append(pair)
    return tuple(found)


def norm_of_pairs(pairs: Sequence[PairBound], graph: Graph) -> float:
    """The norm of the table of all pairs, as of `norm_of`; infinite where one is missing or has no bound."""
    starts, ends = sources(graph), real_outputs(graph)
    if len(pairs) != len(starts) * len(ends):
        return math.inf
    figures = iter([pair.lipschitz for pair in pairs])
    return norm_of([[next(figures) for _ in ends] for _ in starts])


def skipped(graph: Graph, bounded: int) -> tuple[str, ...]:
    """A line where there are several pairs, and more than were bounded."""
    count = len(sources(graph)) * len(real_outputs(graph))
    return (SKIPPED.format(bounded, count),) if count > max(bounded, 1) else ()


def norm_of(table: Sequence[Sequence[float]]) -> float:
    """The spectral norm of a table of bounds, rounded up: a bound from all inputs to all outputs.

    Let A be the table, with A[j, i] >= 0 a Lipschitz constant from the input i to the output j, whatever the
    other inputs are held at, and let x and x' be two values of all inputs. From x one comes to x' by moving
    one input after the other, and never leaves the box of the inputs on the way. So

        |f_j(x) - f_j(x')| <= sum_i A[j, i] |x_i - x'_i|    for each output j.

    With d_i = |x_i - x'_i| and e_j = |f_j(x) - f_j(x')|, that is e <= A d entry by entry. Both sides are
    nonnegative, hence |f(x) - f(x')| = |e| <= |A d| <= |A| |d| = |A| |x - x'| in Euclidean norms. Where other
    inputs are held at some value, a bound must hold for all of these: it does, as `only` leaves it open.

    Args:
        table: a row for each input, which is that of one column of A.

    Returns:
        Infinite where an entry is.
    """
    if not all(math.isfinite(entry) for row in table for entry in row):
        return math.inf
    if len(table) == 1 or all(len(row) == 1 for row in table):
        return root_of_squares(entry for row in table for entry in row)
    import torch

    from convsv_cli.spectral.matrix_norm import matrix_norm

    return matrix_norm(torch.tensor([table], dtype=torch.float64)).upper


def _reached(composed: Composed, ends: Sequence[str]) -> list[float]:
    """Bounds from what is perturbed to the end of a segment, or to outputs; infinite for another tensor."""
    segments = [segment for segment in composed.segments if segment.end]
    stops = [segment.end for segment in segments]
    factors = [segment.factor for segment in segments]
    whole = times(*factors)
    return [
        times(*factors[: stops.index(end) + 1])
        if end in stops
        else times(whole, composed.outputs.get(end, math.inf))
        for end in ends
    ]


def _pair(start: str, end: str, graph: Graph, composed: Composed) -> PairBound:
    """From all that is perturbed in a graph, which `start` is, to one of its outputs."""
    (bound,) = _reached(composed, (end,))
    if math.isfinite(bound):
        independent = not bound and not depends(graph, (start,), end)
        return PairBound(start=start, end=end, lipschitz=bound, reason=INDEPENDENT if independent else "")
    bodies = ending_at(graph, end).main.all_bodies()
    nodes = {node for body in bodies for node in body.nodes}
    why = because([obstacle(offence) for offence in composed.offences if offence.node in nodes])
    return PairBound(start=start, end=end, lipschitz=math.inf, reason=why or BEYOND)


def because(obstacles: Sequence[Obstacle]) -> str:
    """What is in the way of a bound, in words; empty for nothing.

    Args:
        obstacles: all that is; the first is named.
    """
    more = f" and {len(obstacles) - 1} more" if len(obstacles) > 1 else ""
    return "".join(f"{one.node}{more} ({one.op}): {one.reason}" for one in obstacles[:1])
