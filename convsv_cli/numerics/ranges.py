"""Intervals that hold all entries of a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convsv_cli.numerics.rounding import margin

SLACK = margin(4095)


@dataclass(frozen=True, kw_only=True)
class Range:
    """`lower <= x <= upper` for every entry of a tensor, at every input that is allowed.

    Attributes:
        lower: minus infinity where nothing is known.
        upper: infinity where nothing is known.
    """

    lower: float = -math.inf
    upper: float = math.inf

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(abs(self.lower), abs(self.upper))

    @property
    def finite(self) -> bool:
        """Whether both ends say something."""
        return math.isfinite(self.lower) and math.isfinite(self.upper)

    def hull(self, *others: Range) -> Range:
        """The smallest range that holds all.

        Args:
            others: further ranges.
        """
        every = (self, *others)
        return Range(lower=min(r.lower for r in every), upper=max(r.upper for r in every))


ANYTHING = Range()


def outward(lower: float, upper: float) -> Range:
    """The range, widened by more than what a few roundings can do; NaN says nothing."""
    if math.isnan(lower) or math.isnan(upper):
        return ANYTHING
    slack = SLACK * max(abs(x) for x in (lower, upper, 1e-300) if math.isfinite(x))
    return Range(lower=lower - slack, upper=upper + slack)
