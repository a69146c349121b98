"""Proven piecewise linear functions around smooth activations, element by element.

A box is widened to points of the grid on which the activation is tabulated, and cut at others into a few
pieces, so that all that an envelope needs is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar.expressions import Expression
from convsv_cli.local.pieces import Enclosure, Piecewise
from convsv_cli.local.tabulated import Index, Tabulated, tabulated
from convsv_cli.numerics.intervals import TINY, Array, Intervals
from convsv_cli.numerics.rounding import UP_MANY, margin

PIECES = 4
LOST = margin(15)  # relative to the terms of an intercept: more than what its roundings lose


@dataclass(frozen=True, kw_only=True, eq=False)
class _Line:
    """slope t + intercept; arrays [n]."""

    slope: Array
    intercept: Array


def envelope(
    expression: Expression, lower: torch.Tensor, upper: torch.Tensor, pieces: int = PIECES
) -> Enclosure:
    """Two piecewise linear functions, with the activation between them on each box; of float64 in any case.

    Args:
        expression: the activation.
        lower, upper: the boxes, [batch, *shape], lower <= upper; may be infinite.
        pieces: how many lines each function has, at least 2.

    Raises:
        UnboundedError: it is not known how large the function is, nor how steep.
    """
    table = tabulated(expression)
    first, last = (x.detach().cpu().double().numpy().reshape(-1) for x in (lower, upper))
    with np.errstate(all="ignore"):
        cuts = _cuts(table, first, last, pieces)
        lines = [_lines(table, a, b) for a, b in pairwise(cuts)]
    if not all(np.isfinite((line.slope, line.intercept)).all() for pair in lines for line in pair):
        raise UnboundedError("it is not known how large it is")

    def tensors(arrays: list[Array]) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(x).reshape(lower.shape).to(lower.device) for x in arrays)

    below, above = (
        Piecewise(
            knots=tensors([table.points[cut] for cut in cuts[1:-1]]),
            slopes=tensors([line.slope for line in side]),
            intercepts=tensors([line.intercept for line in side]),
        )
        for side in zip(*lines, strict=True)
    )
    slopes = table.slopes.between(cuts[0], cuts[-1])
    least, most = tensors([slopes.lower, slopes.upper])
    return Enclosure(lower=below, upper=above, slopes=(least, most))


def _cuts(table: Tabulated, lower: Array, upper: Array, pieces: int) -> list[Index]:
    """Points around each box, and those at which it is cut, ascending; each [n]."""
    first = np.searchsorted(table.points, lower, "right") - 1
    last = np.searchsorted(table.points, upper, "left")
    start, stop = table.density[first], table.density[last]
    inner = [
        np.searchsorted(table.density, start + (stop - start) * (k / pieces)).clip(first, last)
        for k in range(1, pieces)
    ]
    knots = np.stack(inner)
    for kink in table.kinks:
        nearest = np.abs(table.density[knots] - table.density[kink]).argmin(0)
        inside = (first < kink) & (kink < last)
        knots[nearest[inside], np.flatnonzero(inside)] = kink
    knots = np.sort(knots.clip(1, len(table.points) - 2), axis=0)  # no inner one is infinite
    return [first, *knots, last]


def _lines(table: Tabulated, a: Index, b: Index) -> tuple[_Line, _Line]:
    """Below and above the function between points a and b."""
    left, right = np.isinf(table.points[a]), np.isinf(table.points[b])
    chords = _chords(table, a, b)
    if not (left | right).any():
        return chords
    rays = _rays(table, a, b, left)
    lower, upper = (
        _Line(
            slope=np.where(left | right, ray.slope, chord.slope),
            intercept=np.where(left | right, ray.intercept, chord.intercept),
        )
        for ray, chord in zip(rays, chords, strict=True)
    )
    return lower, upper


def _chords(table: Tabulated, a: Index, b: Index) -> tuple[_Line, _Line]:
    """Parallels to the chord, of slope c, from point a to point b, h apart.

    *Proof.* Let psi(t) = f(t) - c t. Where m <= f' <= M, psi is below the lines of slope M - c through its
    left end and m - c through its right end, hence at most (M - c)(c - m) / (M - m) h above the larger end.
    Where f'' >= k besides, and there is no kink, psi is at most h^2 / 8 max(-k, 0) above its own chord (the
    error of linear interpolation), which is below that end, too. The smaller of both counts. A kink that is
    in the piece by no more than `off` changes psi by no more than max|f' - c| off. From below, the same with
    -f. So of a convex piece, the chord is the upper line, and the tangent parallel to it the lower one.
    """
    x, y = (table.points[a], table.points[b]), (_at(table.values, a), _at(table.values, b))
    h = (x[1] - x[0]) * (1 + LOST)
    rise = (y[1].lower + y[1].upper - y[0].lower - y[0].upper) / 2
    c = np.where(h > 0, rise / h, 0.0)
    steep, bent = table.slopes.between(a, b), table.curvatures.between(a, b)
    p, q = (steep.upper - c).clip(min=0), (c - steep.lower).clip(min=0)
    tent = np.where((p == 0) | (q == 0), 0.0, p / (1 + p / q) * h)
    smooth = ~table.has_kink(a, b)
    moved = np.where(table.off > 0, 2 * np.maximum(p, q) * table.off, 0.0)
    lower, upper = (
        np.fmin(tent, np.where(smooth, curvature.clip(min=0) * h * h / 8, np.inf)) + moved
        for curvature in (bent.upper, -bent.lower)
    )
    size = sum(np.abs(end.lower) + np.abs(end.upper) + np.abs(c * t) for t, end in zip(x, y, strict=True))
    lost = size * LOST + TINY
    least, most = (
        extreme(first - c * x[0], last - c * x[1])
        for extreme, first, last in (
            (np.minimum, y[0].lower, y[1].lower),
            (np.maximum, y[0].upper, y[1].upper),
        )
    )
    below, above = least - lower * UP_MANY - lost, most + upper * UP_MANY + lost
    return _Line(slope=c, intercept=below), _Line(slope=c, intercept=above)


def _rays(table: Tabulated, a: Index, b: Index, left: NDArray[np.bool_]) -> tuple[_Line, _Line]:
    """Lines where one end is infinite: `left` where that is the left one.

    From the other end, (x, y), f rises by at most M and at least m a unit, to the right. A constant takes the
    place of such a line where that would leave the values of f for good, and these are bounded.
    """
    x, y = table.points[np.where(left, b, a)], _at(table.values, np.where(left, b, a))
    steep, range_ = table.slopes.between(a, b), table.ranges.between(a, b)
    lost = np.abs(y.lower) + np.abs(y.upper)

    def line(slope: Array, away: NDArray[np.bool_], end: Array, bound: Array, sign: int) -> _Line:
        flat = away & np.isfinite(bound)
        off = sign * ((lost + np.abs(slope * x)) * LOST + TINY)
        return _Line(slope=np.where(flat, 0.0, slope), intercept=np.where(flat, bound, end - slope * x + off))

    down, up = np.where(left, steep.upper, steep.lower), np.where(left, steep.lower, steep.upper)
    return (
        line(down, np.where(left, down > 0, down < 0), y.lower, range_.lower, -1),
        line(up, np.where(left, up < 0, up > 0), y.upper, range_.upper, 1),
    )


def _at(values: Intervals, index: Index) -> Intervals:
    return Intervals(values.lower[index], values.upper[index])
