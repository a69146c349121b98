"""The largest slope of a function of one number, and its range, by interval branch and bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.scalar.expressions import Expression, jet
from convsv_cli.numerics.intervals import ANYTHING, Array, Intervals, Mask, Range, anything

SLOPE_TOLERANCE = 1e-6
VALUE_TOLERANCE = 1e-4
LEVELS = 120  # how often boxes are halved
MOST_BOXES, MOST_WORK = 2**16, 2**19  # in one search; work is boxes times parts of the expression
FAR, NARROW = 2.0**20, 2.0**-30  # a bound that is infinite beyond, or in a box so small, stays so
CUTS = np.array([sign * cut for sign in (-1, 1) for cut in (FAR, 2.0**10, 32.0, 8.0, 2.0, 0.5)] + [0.0])
CUTS.sort()


@dataclass(frozen=True, kw_only=True)
class Supremum:
    """`reached <= sup <= bound`; the lower end is taken in the box."""

    reached: float
    bound: float
    box: Range

    def holds(self, over: Range) -> bool:
        """Whether the supremum over this range is the same, to a thousandth of a percent."""
        inside = over.lower <= self.box.lower and self.box.upper <= over.upper
        return inside and self.bound <= self.reached * (1 + 10 * SLOPE_TOLERANCE)


def steepness(expression: Expression, over: Range = ANYTHING) -> float:
    """Upper bound of the Lipschitz constant on a range: sup|f'|, about 1e-6 (relative) too large.

    More than that where the boxes, or the steps that the model may take, do not suffice; infinite where no
    bound is found.

    Raises:
        LimitError: the steps do not even suffice for the whole line.
    """
    whole_line = _steepest(expression, ANYTHING)
    if whole_line.holds(over):
        return whole_line.bound
    with suppress(LimitError):
        return min(whole_line.bound, _steepest(expression, over).bound)
    return whole_line.bound


@lru_cache(maxsize=1024)
def slopes(expression: Expression, over: Range = ANYTHING) -> Range:
    """Holds the difference quotients over a range, about 1e-6 (relative) too wide; infinite where unknown."""
    if (
        expression.uses <= 1 and expression.primitives <= 1
    ):  # then each end of the result belongs to some number
        found = jet(expression, _whole(over)).slope
        return Range(lower=float(found.lower[0]), upper=float(found.upper[0]))
    most = _most_boxes(expression)
    upper = supremum(lambda boxes: jet(expression, boxes).slope, over, SLOPE_TOLERANCE, most)
    lower = supremum(lambda boxes: jet(expression * -1.0, boxes).slope, over, SLOPE_TOLERANCE, most)
    return Range(lower=-lower.bound, upper=upper.bound)


@lru_cache(maxsize=1024)
def swing(expression: Expression, over: Range) -> float:
    """Upper bound of sup|x f'(x)| over a range: of the slope in the logarithm of x."""
    most = _most_boxes(expression)
    return supremum(
        lambda boxes: jet(expression, boxes).product.absolute(), over, SLOPE_TOLERANCE, most
    ).bound


@lru_cache(maxsize=1024)
def values(expression: Expression, over: Range) -> Range:
    """Holds the function's values over a range."""
    if expression.uses <= 1:  # then each end of the result belongs to some number
        found = jet(expression, _whole(over)).value
        return Range(lower=float(found.lower[0]), upper=float(found.upper[0]))
    most = _most_boxes(expression)
    upper = supremum(lambda boxes: _largest(expression, boxes), over, VALUE_TOLERANCE, most)
    lower = supremum(lambda boxes: _largest(expression * -1.0, boxes), over, VALUE_TOLERANCE, most)
    return Range(lower=-lower.bound, upper=upper.bound)


@lru_cache(maxsize=1024)
def value_at(expression: Expression, x: float) -> Range:
    """Holds the function's value at a number.

    Args:
        expression: the function.
        x: finite.
    """
    return _range(_at(expression, np.array([x])), 0)


def _largest(expression: Expression, boxes: Intervals) -> Intervals:
    """Holds the supremum over each box: at one of its ends, where the slope keeps its sign."""
    found = jet(expression, boxes)
    left, right = (_at(expression, points) for points in (boxes.lower, boxes.upper))
    rising, falling = Mask(found.slope.lower >= 0), Mask(found.slope.upper <= 0)
    end = falling.choose(left, rising.choose(right, anything(left)))
    reached = np.maximum.reduce((found.value.lower, left.lower, right.lower))
    return Intervals(reached, np.minimum(found.value.upper, end.upper))


def _at(expression: Expression, points: Array) -> Intervals:
    """The values there; nothing is known of those at infinity."""
    finite = Mask(np.isfinite(points))
    lower = np.where(finite.where, points, 0.0)
    value = jet(expression, Intervals(lower, np.nextafter(lower, np.inf))).value
    return finite.choose(value, anything(value))


@lru_cache(maxsize=1024)
def _steepest(expression: Expression, over: Range) -> Supremum:
    if expression.uses <= 1 and expression.primitives <= 1:  # likewise
        found = jet(expression, _whole(over)).slope.absolute()
        return Supremum(reached=float(found.lower[0]), bound=float(found.upper[0]), box=over)
    most = _most_boxes(expression)
    return supremum(lambda boxes: jet(expression, boxes).slope.absolute(), over, SLOPE_TOLERANCE, most)


def _most_boxes(expression: Expression) -> int:
    return min(MOST_BOXES, MOST_WORK // expression.count())


def supremum(
    enclosure: Callable[[Intervals], Intervals], over: Range, tolerance: float, most: int
) -> Supremum:
    """The supremum of a function, from enclosures of its suprema over boxes.

    A box is settled once its upper end is near the largest lower end of any box, compared with the largest
    absolute value of the function.
    """
    boxes, best = _start(over), over
    reached = done = -math.inf
    scale, seen = 0.0, 0
    for _ in range(LEVELS):
        seen += boxes.lower.size
        found = enclosure(boxes)
        scale = max(scale, float(found.absolute().lower.max()))
        at = int(found.lower.argmax())
        if found.lower[at] > reached:
            reached, best = float(found.lower[at]), _range(boxes, at)
        unsure = found.upper > reached + tolerance * scale
        done = max(done, float(found.upper[~unsure].max(initial=-math.inf)))
        if not unsure.any():
            return Supremum(reached=reached, bound=done, box=best)
        if seen > most or (_hopeless(boxes) & np.isinf(found.upper) & unsure).any():
            break
        boxes = _halves(boxes.kept(unsure))
    return Supremum(reached=reached, bound=max(done, float(found.upper.max())), box=best)


def _range(boxes: Intervals, at: int) -> Range:
    return Range(lower=float(boxes.lower[at]), upper=float(boxes.upper[at]))


def _hopeless(boxes: Intervals) -> NDArray[np.bool_]:
    right, left = np.isinf(boxes.upper) & (boxes.lower >= FAR), np.isinf(boxes.lower) & (boxes.upper <= -FAR)
    narrow: NDArray[np.bool_] = boxes.upper - boxes.lower < NARROW
    return right | left | narrow


def _whole(over: Range) -> Intervals:
    """One box, of positive length."""
    lower, upper = np.array([over.lower]), np.array([over.upper])
    return Intervals(np.nextafter(lower, -np.inf), np.nextafter(upper, np.inf))


def _start(over: Range) -> Intervals:
    """The whole, cut where functions tend to differ, and where a bound that is infinite stays so."""
    whole = _whole(over)
    cuts = CUTS[(whole.lower < CUTS) & (whole.upper > CUTS)]
    points = np.concatenate((whole.lower, cuts, whole.upper))
    return Intervals(points[:-1], points[1:])


def _halves(boxes: Intervals) -> Intervals:
    middle = _middle(boxes.lower, boxes.upper)
    return Intervals(
        np.concatenate((boxes.lower, middle)),
        np.concatenate((middle, boxes.upper)),
    )


def _middle(lower: Array, upper: Array) -> Array:
    """Where a box is cut; an unbounded one at twice its end."""
    with np.errstate(invalid="ignore"):
        middle = lower / 2 + upper / 2
    middle = np.where(np.isinf(upper), np.maximum(2 * lower, 1.0), middle)
    middle = np.where(np.isinf(lower), np.minimum(2 * upper, -1.0), middle)
    return np.where(np.isinf(lower) & np.isinf(upper), 0.0, middle)
