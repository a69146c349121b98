"""Logarithmic axes: where figures lie on them, in percent of their length, and marks that show them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from convsv_cli.digits import short

NARROWEST = 0.6
"""Decades: fewer would magnify differences that are none, and leave an axis without a tick."""
MARGIN = 0.04
"""Of the length, at either end."""
LABELS = 7
MANTISSAS = ((0.95, (1, 1.5, 2, 3, 5, 7)), (2.2, (1, 2, 5)), (math.inf, (1,)))
"""What is labelled in each decade, where there are fewer decades than so many."""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
RANGE, INTERVAL, EXCEEDING = "range", "interval", "exceeding"
ESTIMATE, BOUND, LIMIT, STEP, PRODUCT, SEEN = "estimate", "bound", "limit", "step", "product", "seen"


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A line across a chart, and what it stands for."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where ticks are: at these multiples of each power of ten, or at 1 only of every so many powers."""

    mantissas: tuple[float, ...]
    step: int = 1

    def places(self, low: float, high: float) -> list[tuple[float, float, int]]:
        """Of ticks from `low` to `high`, and one beyond either end: logarithm, mantissa and exponent each."""
        first = (math.floor(low) // self.step - 1) * self.step
        exponents = range(first, math.ceil(high) + self.step + 1, self.step)
        found = [(e + math.log10(m), m, e) for e in exponents for m in self.mantissas]
        start = max(i for i, (log10, _, _) in enumerate(found) if log10 <= low)
        end = min(i for i, (log10, _, _) in enumerate(found) if log10 >= high)
        return found[start : end + 1]


def grid_of(span: float) -> Grid:
    """What suits so many decades."""
    mantissas = next(some for most, some in MANTISSAS if span < most)
    step = max(1, math.ceil(span / LABELS)) if len(mantissas) == 1 else 1
    return Grid(mantissas=mantissas, step=step)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis from 10^low to 10^high; without a `grid` it has the one that suits it."""

    low: float
    high: float
    grid: Grid | None = None

    def at(self, log10: float) -> float:
        """Percent from the low end; what lies beyond an end is put there."""
        share = (log10 - self.low) / (self.high - self.low) if math.isfinite(log10) else log10
        return round(100 * min(max(share, 0.0), 1.0), 2)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """At powers of ten, and between these where there are few."""
        grid = self.grid or grid_of(self.high - self.low)
        return tuple(
            Tick(at=self.at(log10), label=_label(m, e))
            for log10, m, e in grid.places(self.low, self.high)
            if self.low <= log10 <= self.high
        )


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something from `start` to `end`, in percent of the axis; `kind` tells how it is drawn."""

    kind: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Track:
    """The marks of a table's row, and the same in words."""

    words: str
    marks: tuple[Mark, ...]


def log(value: float | None) -> float:
    """The decimal logarithm of a norm; -inf for zero, and for none."""
    if not value:
        return -math.inf
    return math.log10(value) if math.isfinite(value) else math.inf


def scale_of(logs: Iterable[float]) -> Scale:
    """An axis that shows all of these, with a tick beyond either end; -inf and inf do not count.

    Nothing then lies above the topmost tick, where a reader could only guess how large it is.
    """
    finite = [value for value in logs if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    missing = max(0.0, NARROWEST - (high - low)) / 2
    room = MARGIN * max(high - low, NARROWEST)
    low, high = low - missing - room, high + missing + room
    grid = grid_of(high - low)
    places = grid.places(low, high)
    return Scale(low=places[0][0], high=places[-1][0], grid=grid)


def point(kind: str, at: float) -> Mark:
    """A mark in one place."""
    return Mark(kind=kind, start=at, end=at)


def sort_key(value: float | None) -> str | None:
    """A number as JavaScript reads it, by which a table's rows are sorted."""
    return None if value is None else "Infinity" if math.isinf(value) else repr(value)


def _label(mantissa: float, exponent: int) -> str:
    if -3 <= exponent <= 3:
        return short(mantissa * 10.0**exponent)
    times = "" if mantissa == 1 else f"{mantissa}·"
    return f"{times}10{str(exponent).translate(SUPERSCRIPTS)}"
