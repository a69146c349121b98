"""Enclosures of functions that are monotone between known points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from convsv_cli.numerics.intervals import TINY, Array, Intervals, Mask, anything, widened
from convsv_cli.numerics.rounding import margin

LIBRARY = margin(1023)  # more than the error of a formula below; exp(-u^2) has 745 * 2^-53 at the worst
ENDLESS = (-math.inf, math.inf)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A function that is monotone from `start` to `stop`.

    Attributes:
        start, stop: where it holds, both ends included.
        function: accepts infinite numbers; NaN stands for a limit of 0.
        exact: it is computed without rounding.
    """

    start: float
    stop: float
    function: Callable[[Array], Array]
    exact: bool = False

    def __call__(self, u: Intervals) -> tuple[Mask, Intervals]:
        """Where the interval meets the piece, and the values that it takes there."""
        ends = [self.function(np.clip(end, self.start, self.stop)) for end in (u.lower, u.upper)]
        first, second = (np.where(np.isnan(end), 0.0, end) for end in ends)
        met = Mask((u.lower <= self.stop) & (u.upper >= self.start))
        lower, upper = np.minimum(first, second), np.maximum(first, second)
        if self.exact:
            return met, Intervals(lower, upper)
        return met, widened(lower, upper, LIBRARY, TINY)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Pieces in ascending order without gaps; nothing is known of the function beyond the outer ones.

    Where two meet, both count.

    Attributes:
        pieces: in ascending order, without gaps.
        lower, upper: no value lies beyond.
        inside: an interval that only touches a piece does not meet it. So it is for slopes: those almost
            everywhere in an interval count, and where u stays at a kink, its own slope is 0.
    """

    pieces: tuple[Piece, ...]
    lower: float = -math.inf
    upper: float = math.inf
    inside: bool = False

    def __call__(self, u: Intervals) -> Intervals:
        """Holds the function's values over each interval."""
        result = Intervals(np.full_like(u.lower, np.inf), np.full_like(u.lower, -np.inf))
        for piece in self.pieces:
            met, values = piece(u)
            if self.inside:
                met = met & Mask((u.lower == u.upper) | ((u.lower < piece.stop) & (u.upper > piece.start)))
            result = met.choose(result.hull(values), result)
        result = Intervals(result.lower.clip(min=self.lower), result.upper.clip(max=self.upper))
        inside = Mask((u.lower >= self.pieces[0].start) & (u.upper <= self.pieces[-1].stop))
        return inside.choose(result, anything(u))


def curve(
    function: Callable[[Array], Array],
    *turns: float,
    domain: tuple[float, float] = ENDLESS,
    lower: float = -math.inf,
    upper: float = math.inf,
) -> Curve:
    """The curve of one formula that is monotone between its turning points.

    Those may be rounded: close to one, the function differs by the square of the error.
    """
    ends = (domain[0], *turns, domain[1])
    pieces = tuple(Piece(start=a, stop=b, function=function) for a, b in pairwise(ends))
    return Curve(pieces=pieces, lower=lower, upper=upper)


def steps(levels: tuple[float, ...], *bounds: float, domain: tuple[float, float] = ENDLESS) -> Curve:
    """Constant between bounds: the slopes of a piecewise linear function."""
    ends = zip(levels, pairwise((domain[0], *bounds, domain[1])), strict=True)
    return Curve(
        pieces=tuple(
            Piece(start=a, stop=b, function=lambda u, level=level: np.full_like(u, level), exact=True)  # type: ignore[misc]
            for level, (a, b) in ends
        ),
        inside=True,
    )


@dataclass(frozen=True, kw_only=True)
class Sinusoid:
    """A sine or cosine: `amplitude` at `peak + 2 pi k`, minus that half a period later."""

    function: Callable[[Array], Array]
    peak: float

    def __call__(self, u: Intervals) -> Intervals:
        """Holds the values over each interval."""
        ends = widened(*self._ordered(u), LIBRARY, 1e-9)
        far = ~(np.maximum(np.abs(u.lower), np.abs(u.upper)) < 1e5)
        upper = np.where(far | self._passes(u, self.peak), 1.0, ends.upper.clip(max=1.0))
        lower = np.where(far | self._passes(u, self.peak + math.pi), -1.0, ends.lower.clip(min=-1.0))
        return Intervals(lower, upper)

    def _ordered(self, u: Intervals) -> tuple[Array, Array]:
        first, second = self.function(u.lower), self.function(u.upper)
        return np.minimum(first, second), np.maximum(first, second)

    @staticmethod
    def _passes(u: Intervals, point: float) -> NDArray[np.bool_]:
        turns = [(end - point) / (2 * math.pi) for end in (u.lower, u.upper)]
        passes: NDArray[np.bool_] = np.ceil(turns[0] - 1e-9) <= turns[1] + 1e-9
        return passes
