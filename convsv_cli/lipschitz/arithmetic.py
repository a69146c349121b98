"""Sums and products of upper bounds, rounded up; nothing times infinity is nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable

UP = 1 + 2.0**-50


def times(*factors: float) -> float:
    """The product, rounded up. A factor of 0 makes it 0: what does not vary is not amplified."""
    if 0.0 in factors:
        return 0.0
    return math.prod(factors) * UP ** len(factors)


def total(terms: Iterable[float]) -> float:
    """The sum, rounded up."""
    return math.fsum(terms) * UP


def root_of_squares(terms: Iterable[float]) -> float:
    """The Euclidean norm, rounded up."""
    return math.hypot(*terms) * UP**2
