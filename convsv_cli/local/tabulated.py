"""A function of one number on a grid: its values at the points, and its derivatives in between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from convsv_cli.lipschitz.scalar.expressions import Expression, jet
from convsv_cli.lipschitz.scalar.tables import values_over
from convsv_cli.local.curvature import Kink, curvatures, kinks
from convsv_cli.numerics.intervals import Array, Intervals, anything

CELLS = 4096  # of equal width, between -NEAR and NEAR
NEAR, FAR, PER_OCTAVE = 8.0, 2.0**20, 16  # beyond NEAR, cells grow; beyond FAR, there is one on each side

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Hulls:
    """Intervals of cells, and hulls of any number of neighbours.

    Attributes:
        lower, upper: [levels, cells] each: entry (k, i) is of the 2^k cells from i on.
    """

    lower: Array
    upper: Array

    def between(self, first: Index, last: Index) -> Intervals:
        """Of the cells from `first` to before `last`; of the first alone where there is none in between.

        Args:
            first, last: arrays [n].
        """
        count = np.maximum(last - first, 1)
        level = np.frexp(count)[1] - 1  # the largest power of 2 that is not more
        start = np.minimum(first, self.lower.shape[1] - 1)
        stop = np.maximum(start, first + count - (1 << level))
        return Intervals(
            np.minimum(self.lower[level, start], self.lower[level, stop]),
            np.maximum(self.upper[level, start], self.upper[level, stop]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Tabulated:
    """What is known of a function.

    Attributes:
        points: [points], ascending, from minus infinity to infinity; all places of kinks are among them.
        values: at the points, [points]; nothing is known of those at infinity.
        ranges, slopes, curvatures: of the cells between points: values, and f' and f'' where they exist.
        density: [points], how many knots there should be up to each, but for a factor.
        kinks: indices of the points where the slope may jump, ascending.
        off: by how much these may be elsewhere.
    """

    points: Array
    values: Intervals
    ranges: Hulls
    slopes: Hulls
    curvatures: Hulls
    density: Array
    kinks: Index
    off: float

    def has_kink(self, first: Index, last: Index) -> NDArray[np.bool_]:
        """Whether one is strictly between two points, [n]."""
        found: NDArray[np.bool_] = np.searchsorted(self.kinks, last, "left") > np.searchsorted(
            self.kinks, first, "right"
        )
        return found


@lru_cache(maxsize=256)
def tabulated(expression: Expression) -> Tabulated:
    """The table of a function.

    Args:
        expression: the function.
    """
    bends = kinks(expression)
    known = bends or ()
    points = np.union1d(grid(), [kink.at for kink in known])
    cells = Intervals(points[:-1], points[1:])
    found = jet(expression, cells)
    second = anything(cells) if bends is None else curvatures(expression, cells)
    return Tabulated(
        points=points,
        values=_values(expression, points),
        ranges=hulls(found.value),
        slopes=hulls(found.slope),
        curvatures=hulls(second),
        density=_density(points, found.slope, second),
        kinks=np.searchsorted(points, sorted(kink.at for kink in known)),
        off=_most(known),
    )


def _most(known: tuple[Kink, ...]) -> float:
    return max((kink.off for kink in known), default=0.0)


@lru_cache(maxsize=1)
def grid() -> Array:
    """The points that every table has, ascending, from minus infinity to infinity: [points]."""
    octaves = int(np.log2(FAR / NEAR))
    beyond = NEAR * 2.0 ** (np.arange(1, octaves * PER_OCTAVE + 1) / PER_OCTAVE)
    return np.concatenate(([-np.inf], -beyond[::-1], np.linspace(-NEAR, NEAR, CELLS + 1), beyond, [np.inf]))


def _values(expression: Expression, points: Array) -> Intervals:
    finite = np.isfinite(points)
    found = values_over(expression, Intervals(points[finite], points[finite]))
    lower, upper = np.full_like(points, -np.inf), np.full_like(points, np.inf)
    lower[finite], upper[finite] = found.lower, found.upper
    return Intervals(lower, upper)


def hulls(cells: Intervals) -> Hulls:
    """Of every 2^k neighbours.

    Args:
        cells: [cells].
    """
    lower, upper = [cells.lower], [cells.upper]
    step = 1
    while 2 * step <= len(cells.lower):
        for levels, extreme, beyond in ((lower, np.minimum, np.inf), (upper, np.maximum, -np.inf)):
            last = levels[-1]
            levels.append(extreme(last, np.concatenate((last[step:], np.full(step, beyond)))))
        step *= 2
    return Hulls(lower=np.stack(lower), upper=np.stack(upper))


def _density(points: Array, slope: Intervals, second: Intervals) -> Array:
    """With knots spaced by 1 / sqrt|f''|, all pieces have the same gap, h^2 |f''| / 8.

    Where f'' is not known, the change of the slope over the cell stands for it; a trifle where there is none.
    """
    with np.errstate(all="ignore"):
        width = np.diff(points)
        bent = np.sqrt(second.absolute().upper) * width
        turned = np.sqrt((slope.upper - slope.lower) * width)
        each = np.where(np.isfinite(bent), bent, np.where(np.isfinite(turned), turned, 0.0))
        each += np.where(np.isfinite(width), 1e-9 * width, 0.0)
    return np.concatenate(([0.0], np.cumsum(each)))
