"""Sums and products of upper bounds, rounded up; nothing times infinity is nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

from convsv_cli.numerics.rounding import UP


def times(*factors: float) -> float:
    """The product, rounded up. A factor of 0 makes it 0: what does not vary is not amplified."""
    if 0.0 in factors:
        return 0.0
    others = [factor for factor in factors if factor != 1]
    product = math.prod(others) * UP ** max(0, len(others) - 1)
    return max(product, sys.float_info.min)  # what underflows is not nothing


def total(terms: Iterable[float]) -> float:
    """The sum, rounded up."""
    others = [term for term in terms if term]
    return math.fsum(others) * UP if len(others) > 1 else sum(others)


def root_of_squares(terms: Iterable[float]) -> float:
    """The Euclidean norm, rounded up."""
    others = [term for term in terms if term]
    return math.hypot(*others) * UP if len(others) > 1 else sum(others)


def root(x: float) -> float:
    """The square root, rounded up; of a square number exact."""
    value = math.sqrt(x)
    return value if value * value == x and value == int(value) else value * UP
