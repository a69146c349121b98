"""Slopes and values of a function of one number over many intervals at once: channels by the thousand.

`steepness` finds them for one interval to six digits, which takes 0.1 s where x occurs more than once. Here
such a function is enclosed once over the cells of a fixed grid; over an interval it is in the hull of what it
is in over the cells that the interval meets. That is wider by what happens within one cell, 2^-8 near 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from convsv_cli.lipschitz.scalar.expressions import Expression, X, jet
from convsv_cli.lipschitz.scalar.steepness import slopes
from convsv_cli.numerics.intervals import Array, Intervals, exactly

CELLS = 4096  # of equal width, between -NEAR and NEAR
NEAR, FAR, PER_OCTAVE = 8.0, 2.0**20, 16  # beyond NEAR, cells grow; beyond FAR, there is one on each side


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A function over the cells of the grid.

    Attributes:
        slopes, values: of each cell, arrays [cells].
    """

    slopes: Intervals
    values: Intervals


def slopes_over(expression: Expression, over: Intervals) -> Intervals:
    """Holds the function's difference quotients over each interval; infinite for unknown.

    Args:
        expression: the function.
        over: arrays of any shape, which that of the result is.
    """
    exact = _piecewise(expression, over)
    if exact is not None:
        return exact
    if expression.uses <= 1 and expression.primitives <= 1:  # each end belongs to some number
        return _jets(expression, over)[0]
    whole = slopes(expression)
    return _found(_table(expression).slopes, over).meet(
        Intervals(np.array(whole.lower), np.array(whole.upper))
    )


def values_over(expression: Expression, over: Intervals) -> Intervals:
    """Holds the function's values over each interval.

    Args:
        expression: the function.
        over: arrays of any shape, which that of the result is.
    """
    once = _jets(expression, over)[1]
    return once if expression.uses <= 1 else once.meet(_found(_table(expression).values, over))


def _piecewise(expression: Expression, over: Intervals) -> Intervals | None:
    """Of the identity, LeakyRelu and Clip, without rounding; None for others."""
    if expression == X:
        return exactly(1.0, over)
    if expression.op not in ("LeakyRelu", "Clip") or expression.operands != (X,):
        return None
    first, second = expression.numbers
    pieces: tuple[tuple[float, float, float], ...]
    if expression.op == "LeakyRelu":
        pieces = ((first, -np.inf, 0.0), (second, 0.0, np.inf))
    else:
        pieces = ((0.0, -np.inf, first), (1.0, first, second), (0.0, second, np.inf))
    lower, upper = np.full_like(over.lower, np.inf), np.full_like(over.lower, -np.inf)
    for slope, start, stop in pieces:
        met = (over.lower < stop) & (over.upper > start) | (start <= over.lower) & (over.upper <= stop)
        lower, upper = (
            np.where(met, lower.clip(max=slope), lower),
            np.where(met, upper.clip(min=slope), upper),
        )
    return Intervals(lower, upper)


def _jets(expression: Expression, over: Intervals) -> tuple[Intervals, Intervals]:
    """Enclosures of slopes and values, from one evaluation on intervals of positive length."""
    shape = over.lower.shape
    flat = Intervals(
        np.nextafter(over.lower.reshape(-1), -np.inf), np.nextafter(over.upper.reshape(-1), np.inf)
    )
    found = jet(expression, flat)
    slope, value = (
        Intervals(e.lower.reshape(shape), e.upper.reshape(shape)) for e in (found.slope, found.value)
    )
    return slope, value


@lru_cache(maxsize=256)
def _table(expression: Expression) -> Table:
    points = _grid()
    found = jet(expression, Intervals(points[:-1], points[1:]))
    return Table(slopes=found.slope, values=found.value)


@lru_cache(maxsize=1)
def _grid() -> Array:
    """The ends of the cells, ascending."""
    octaves = int(np.log2(FAR / NEAR))
    beyond = NEAR * 2.0 ** (np.arange(1, octaves * PER_OCTAVE + 1) / PER_OCTAVE)
    return np.concatenate(([-np.inf], -beyond[::-1], np.linspace(-NEAR, NEAR, CELLS + 1), beyond, [np.inf]))


def _found(cells: Intervals, over: Intervals) -> Intervals:
    """The hull of the cells that each interval meets."""
    points, shape = _grid(), over.lower.shape
    lower, upper = over.lower.reshape(-1), over.upper.reshape(-1)
    first = (np.searchsorted(points, lower, "right") - 1).clip(0, len(points) - 2)
    last = np.maximum(np.searchsorted(points, upper, "left").clip(1, len(points) - 1), first + 1)
    pairs = np.stack((first, last), 1).reshape(-1)  # pieces from each first cell to before each last one
    ends = (
        reduced.reduceat(np.append(values, values[-1]), pairs)[::2]
        for reduced, values in ((np.minimum, cells.lower), (np.maximum, cells.upper))
    )
    least, largest = (end.reshape(shape) for end in ends)
    return Intervals(least, largest)
