"""One bound for each pair of an input and an output, and what these say of all of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from convsv_cli.lipschitz.blocks import obstacle
from convsv_cli.lipschitz.dependencies import ending_at, real_outputs, sources
from convsv_cli.lipschitz.ends import depends, only
from convsv_cli.lipschitz.norms import Norms
from convsv_cli.lipschitz.segments import Composed
from convsv_cli.lipschitz.undefined import defined
from convsv_cli.model.graph import Graph, Node
from convsv_cli.numerics.rounding import times
from convsv_cli.report import BOUNDED, NetworkBound, Obstacle, PairBound

if TYPE_CHECKING:
    import torch

MOST = 64
"""Pairs that are bounded."""
SKIPPED = "bounds of pairs: only the first {} of {} are computed; --from and --to choose others"
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


def pair_bounds(
    graph: Graph, known: Mapping[Graph, Composed], compose: Compose, joint: float
) -> tuple[PairBound, ...]:
    """A bound for each of the first `MOST` pairs; none where there is one input and one output.

    Args:
        graph: whose inputs and outputs they are.
        known: what it was rewritten as, and each of these composed, with all inputs perturbed.
        compose: composes a graph.
        joint: bound from all inputs to all outputs, which no pair exceeds; infinite for none.
    """
    starts, ends = sources(graph), real_outputs(graph)
    if len(starts) * len(ends) < 2:
        return ()
    whole = NetworkBound(status=BOUNDED, lipschitz=0.0)
    spoilt = bool(defined(whole, graph).obstacles)
    found: list[PairBound] = []
    for start in starts[: -(-MOST // len(ends))]:
        parts = known if len(starts) == 1 else _perturbed(known, start, compose)
        for end in ends:
            pair = min((_pair(start, end, *part) for part in parts.items()), key=lambda one: one.lipschitz)
            if spoilt and (why := defined(whole, ending_at(graph, end)).obstacles):
                pair = replace(pair, lipschitz=math.inf, reason=because(why))
            elif pair.lipschitz > joint:
                pair = replace(pair, lipschitz=joint, reason="")
            found.append(pair)
    return tuple(found[:MOST])


def skipped(graph: Graph) -> tuple[str, ...]:
    """A line where there are more pairs than are bounded."""
    count = len(sources(graph)) * len(real_outputs(graph))
    return (SKIPPED.format(MOST, count),) if count > MOST else ()


def norm_of(pairs: Sequence[PairBound], graph: Graph) -> float:
    """The spectral norm of the table of all pairs, rounded up: a bound from all inputs to all outputs.

    Let A be the table, with A[j, i] >= 0 a Lipschitz constant from the input i to the output j, whatever the
    other inputs are held at, and let x and x' be two values of all inputs. From x one comes to x' by moving
    one input after the other, and never leaves the box of the inputs on the way. So

        |f_j(x) - f_j(x')| <= sum_i A[j, i] |x_i - x'_i|    for each output j, that is |f(x) - f(x')| <= A d,

    entry by entry, with d_i = |x_i - x'_i|. Both sides are nonnegative, hence |f(x) - f(x')| <= |A d| <=
    |A| |d| = |A| |x - x'| in Euclidean norms. Where a step of that walk is of an input that is held fixed at
    any value, its bound must not depend on that value: it does not, as `only` leaves the value open.

    Args:
        pairs: of the graph.
        graph: whose inputs and outputs they are.

    Returns:
        Infinite where a pair is missing or has no bound.
    """
    starts, ends = sources(graph), real_outputs(graph)
    if len(pairs) != len(starts) * len(ends) or not all(math.isfinite(pair.lipschitz) for pair in pairs):
        return math.inf
    import torch

    from convsv_cli.spectral.matrix_norm import matrix_norm

    table: torch.Tensor = torch.tensor([pair.lipschitz for pair in pairs], dtype=torch.float64)
    return matrix_norm(table.reshape(1, len(starts), len(ends))).upper


def _perturbed(known: Mapping[Graph, Composed], start: str, compose: Compose) -> Mapping[Graph, Composed]:
    """The same graphs with one input perturbed."""
    return {part: compose(part) for part in (only(graph, start) for graph in known)}


def _pair(start: str, end: str, graph: Graph, composed: Composed) -> PairBound:
    """From all that is perturbed in a graph, which `start` is, to one of its outputs."""
    factors = [segment.factor for segment in composed.segments if segment.end]
    bound = times(*factors, composed.outputs.get(end, 0.0))
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
