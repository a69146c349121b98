"""What is proven of a norm: that it lies between two ends."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A proven enclosure `lower <= x <= upper` of a norm; one end may say nothing.

    Attributes:
        lower: 0 where nothing is proven from below.
        upper: infinite where nothing is proven from above.

    Raises:
        ValueError: the ends are in the wrong order, negative or NaN.
    """

    lower: float = 0.0
    upper: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.lower <= self.upper:
            raise ValueError(f"not an interval of norms: [{self.lower}, {self.upper}]")
