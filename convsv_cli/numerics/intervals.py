"""Closed intervals of real numbers, rounded outward: one for all entries of a tensor, and arrays of them.

An infinite end says that nothing bounds the number there; the number itself is finite, so that 0 times an
unbounded interval is 0. One of which nothing is known is [-inf, inf].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsv_cli.numerics.rounding import UP_MANY, margin

Array = NDArray[np.float64]
ARITHMETIC = margin(3)
SLACK = UP_MANY - 1  # of ends that formulas and library functions give
TINY = 1e-300  # more than what is lost where a result underflows
HUGE = 1e307  # less than what overflows


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
SMALL_FLOATS = {
    "float4e2m1": 6.0,
    "float8e4m3fn": 448.0,
    "float8e4m3fnuz": 240.0,
    "float8e5m2": 57344.0,
    "float8e5m2fnuz": 57344.0,
}
"""The largest numbers of types that are no more than a few bits long."""


def range_of_type(name: str) -> Range:
    """What the numbers of a type are in; anything for those that may be of any size.

    Args:
        name: as ONNX calls it, in lower case.
    """
    kind, _, bits = name.partition("int")
    if kind in ("", "u") and bits.isdigit():
        signed = not kind
        count = 2.0 ** (int(bits) - signed)
        return Range(lower=-count if signed else 0.0, upper=count - 1)
    if name == "bool":
        return Range(lower=0.0, upper=1.0)
    most = SMALL_FLOATS.get(name, math.inf)
    return Range(lower=-most, upper=most)


def outward_range(lower: float, upper: float) -> Range:
    """The range, widened by more than a few roundings can lose; NaN says nothing."""
    if math.isnan(lower) or math.isnan(upper):
        return ANYTHING
    slack = SLACK * max(abs(x) for x in (lower, upper, TINY) if math.isfinite(x))
    return Range(lower=lower - slack, upper=upper + slack)


@dataclass(frozen=True, eq=False)
class Intervals:
    """`lower <= x <= upper`, entry by entry; arrays [n]."""

    lower: Array
    upper: Array

    def __add__(self, other: Intervals) -> Intervals:
        return widened(self.lower + other.lower, self.upper + other.upper, ARITHMETIC, 0.0)

    def __neg__(self) -> Intervals:
        return Intervals(-self.upper, -self.lower)

    def __mul__(self, other: Intervals) -> Intervals:
        a = np.stack((self.lower, self.lower, self.upper, self.upper))
        b = np.stack((other.lower, other.upper, other.lower, other.upper))
        nothing = (a == 0) | (b == 0)
        products = np.where(nothing, 0.0, a * b)
        underflow = ((np.abs(products) < TINY) & ~nothing).any(0)
        return widened(products.min(0), products.max(0), ARITHMETIC, np.where(underflow, TINY, 0.0))

    def __truediv__(self, other: Intervals) -> Intervals:
        """Nothing is known of a quotient by an interval that holds 0."""
        return other.without_zero.choose(self * other.reciprocal(), anything(self))

    def reciprocal(self) -> Intervals:
        """Nothing is known of that of an interval that holds 0."""
        inverse = widened(1 / self.upper, 1 / self.lower, ARITHMETIC, 0.0)
        positive = self.lower > 0
        signed = Intervals(
            np.where(positive, inverse.lower.clip(min=0), inverse.lower),
            np.where(positive, inverse.upper, inverse.upper.clip(max=0)),
        )
        return self.without_zero.choose(signed, anything(self))

    def meet(self, other: Intervals) -> Intervals:
        """What both hold."""
        return Intervals(np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper))

    def hull(self, other: Intervals) -> Intervals:
        """The smallest that hold both."""
        return Intervals(np.minimum(self.lower, other.lower), np.maximum(self.upper, other.upper))

    def absolute(self) -> Intervals:
        """Of the absolute values."""
        smallest = np.maximum(np.maximum(self.lower, -self.upper), 0.0)
        return Intervals(smallest, np.maximum(np.abs(self.lower), np.abs(self.upper)))

    def kept(self, mask: NDArray[np.bool_]) -> Intervals:
        """Those where the mask is true."""
        return Intervals(self.lower[mask], self.upper[mask])

    @property
    def without_zero(self) -> Mask:
        """Where 0 is not in it."""
        return Mask((self.lower > 0) | (self.upper < 0))

    @property
    def known(self) -> Mask:
        """Where at least one end is finite."""
        return Mask(np.isfinite(self.lower) | np.isfinite(self.upper))


@dataclass(frozen=True, eq=False)
class Mask:
    """A choice, entry by entry."""

    where: NDArray[np.bool_]

    def choose(self, yes: Intervals, no: Intervals) -> Intervals:
        """`yes` where it holds, `no` elsewhere."""
        return Intervals(np.where(self.where, yes.lower, no.lower), np.where(self.where, yes.upper, no.upper))

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.where & other.where)


def exactly(value: float, like: Intervals) -> Intervals:
    """The same number everywhere."""
    return Intervals(np.full_like(like.lower, value), np.full_like(like.lower, value))


def anything(like: Intervals) -> Intervals:
    """Nothing is known."""
    return Intervals(np.full_like(like.lower, -np.inf), np.full_like(like.lower, np.inf))


def widened(lower: Array, upper: Array, relative: float, absolute: float | Array) -> Intervals:
    """Widened by relative and absolute errors; NaN says nothing, and an overflow is a large number."""
    widened_lower = lower - (np.abs(lower) * relative + absolute)
    widened_upper = upper + (np.abs(upper) * relative + absolute)
    widened_lower = np.where(lower == np.inf, HUGE, widened_lower)
    widened_upper = np.where(upper == -np.inf, -HUGE, widened_upper)
    return Intervals(
        np.where(np.isnan(widened_lower), -np.inf, widened_lower),
        np.where(np.isnan(widened_upper), np.inf, widened_upper),
    )
