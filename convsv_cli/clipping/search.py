"""How far all layers have to be brought down for a network's bound to keep a limit."""

from __future__ import annotations

import math
from collections.abc import Callable

TRIES = 8
"""Times that a network is bounded to find a share, and to prove that the last one keeps the limit."""
ENOUGH = 0.95
"""Of the limit, that a bound may be below it."""
AIM = 0.98
STEEPEST, GENTLEST = 200.0, 0.5


def kept_share(limit: float, first: float, bound: Callable[[float], float], layers: int) -> float | None:
    """A share in (0, 1] at which the bound keeps the limit, which the last call of `bound` showed; or None.

    A bound is about a power of the share, as that of a chain of layers is: so a line is drawn through the
    logarithms of what is known, and cut with the limit.

    Args:
        limit: of the bound.
        first: the bound at 1, above the limit.
        bound: the bound at a share; infinite for none.
        layers: how many there are, the power in a chain.
    """
    above, below = (0.0, math.log(first)), None
    power, target = float(max(layers, 1)), math.log(limit)
    for _ in range(TRIES):
        share = _next(above, below, power, target + math.log(AIM))
        found = bound(math.exp(share))
        if not math.isfinite(found):
            return None
        point = share, math.log(found) if found > 0 else -math.inf
        if point[1] > target:
            power = min(STEEPEST, max(GENTLEST, (above[1] - point[1]) / (above[0] - share)))
            above = point
        else:
            below = point
            if found >= ENOUGH * limit:
                return math.exp(share)
    if below is None:
        return None
    bound(math.exp(below[0]))
    return math.exp(below[0])


def _next(
    above: tuple[float, float], below: tuple[float, float] | None, power: float, target: float
) -> float:
    """The logarithm of the share to try."""
    if below is None:
        return above[0] - (above[1] - target) / power
    if not math.isfinite(below[1]):
        return (above[0] + below[0]) / 2
    part = (above[1] - target) / (above[1] - below[1])
    return above[0] + min(0.95, max(0.05, part)) * (below[0] - above[0])
