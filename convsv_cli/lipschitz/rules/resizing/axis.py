"""The matrix of Resize along one axis: where each entry of the output is read, and with which weights.

Coordinates are exact fractions, in every mode an affine function of the index (ONNX, operator Resize).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli import limits
from convsv_cli.digits import short
from convsv_cli.lipschitz.axis_matrices import AxisMatrix
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.numerics.rounding import margin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

HALF = Fraction(1, 2)


@dataclass(frozen=True, kw_only=True)
class Line:
    """`slope i + offset` for i = 0 .. count - 1."""

    count: int
    slope: Fraction
    offset: Fraction

    def shifted(self, by: Fraction) -> Line:
        """The line, moved."""
        return replace(self, offset=self.offset + by)

    def floors(self) -> NDArray[np.int64]:
        """The largest integers below, [count]."""
        return np.array([number // below for number, below in self._fractions()], np.int64)

    def ceils(self) -> NDArray[np.int64]:
        """The smallest integers above, [count]."""
        return np.array([-(-number // below) for number, below in self._fractions()], np.int64)

    def remainders(self) -> NDArray[np.float64]:
        """What is above the floors, in [0, 1), each correctly rounded."""
        return np.array([number % below / below for number, below in self._fractions()], np.float64)

    def _fractions(self) -> list[tuple[int, int]]:
        below = math.lcm(self.slope.denominator, self.offset.denominator)
        slope, offset = int(self.slope * below), int(self.offset * below)
        return [(slope * i + offset, below) for i in range(self.count)]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """One axis of a Resize.

    Attributes:
        before, after: sizes.
        scale: by which it is resized.
        mode: coordinate_transformation_mode.
        roi: start and end in units of the axis, for tf_crop_and_resize.
    """

    before: int
    after: int
    scale: Fraction
    mode: str
    roi: tuple[Fraction, Fraction] = (Fraction(0), Fraction(1))

    @property
    def crops(self) -> bool:
        """Whether entries outside of the input are read, which are a constant then."""
        return self.mode == "tf_crop_and_resize"

    @property
    def kept(self) -> bool:
        """Whether nothing changes along the axis.

        Where no size changes, onnxruntime leaves a crop as it is, whatever its scale is.
        """
        return (self.scale == 1 or self.crops) and self.before == self.after

    @property
    def tolerance(self) -> Fraction:
        """More than what rounding to single precision does to a coordinate."""
        return Fraction(1 + max(self.before, self.after), 2**21)

    @property
    def robust(self) -> bool:
        """Whether coordinates that are halves of integers are exact in single precision."""
        exact = Fraction(float(np.float32(self.scale))) == self.scale
        plain = self.mode in ("asymmetric", "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn")
        plain |= self.mode == "half_pixel_symmetric" and self.after == self.scale * self.before
        return self.mode == "align_corners" or (plain and exact)

    def line(self) -> Line:
        """The coordinates.

        Raises:
            UnboundedError: ONNX has no such mode.
        """
        step, last = 1 / self.scale, self.before - 1
        start, end = self.roi
        single = self.after == 1
        middle = step * HALF - HALF
        adjustment = 1 - self.after / (self.scale * self.before)
        lines = {
            "asymmetric": (step, Fraction(0)),
            "half_pixel": (step, middle),
            "pytorch_half_pixel": (step, Fraction(0) if single else middle),
            "tf_half_pixel_for_nn": (step, step * HALF),
            "half_pixel_symmetric": (step, Fraction(self.before, 2) * adjustment + middle),
            "align_corners": (Fraction(last, max(1, self.after - 1)), Fraction(0)),
            "tf_crop_and_resize": (
                (end - start) * last / max(1, self.after - 1),
                (start + end) * last / 2 if single else start * last,
            ),
        }
        if self.mode not in lines:
            raise UnboundedError(f"its coordinate_transformation_mode {self.mode!r} is unknown to convsv")
        slope, offset = lines[self.mode]
        return Line(count=self.after, slope=slope, offset=offset)


ROUNDED: dict[str, Callable[[Line], NDArray[np.int64]]] = {
    "floor": Line.floors,
    "ceil": Line.ceils,
    "round_prefer_floor": lambda line: line.shifted(-HALF).ceils(),
    "round_prefer_ceil": lambda line: line.shifted(HALF).floors(),
}
LARGEST_COEFFICIENT = 16.0
ROW, ENTRY, BYTES = limits.OBJECT, 16, 128
"""Steps of the model's allowance for each row of a matrix, and steps and bytes for each entry."""
SMALLEST_SUM = 2.0**-10


@dataclass(frozen=True, kw_only=True)
class Filter:
    """How entries between the others are interpolated.

    Attributes:
        mode: "nearest", "linear" or "cubic".
        nearest: which way nearest rounds; a key of `ROUNDED`.
        a: coefficient of the cubic (Keys 1981).
        antialias: the filter is stretched where the axis shrinks.
        exclude_outside: entries outside of the input do not count, instead of being the nearest ones inside.
    """

    mode: str
    nearest: str = "round_prefer_floor"
    a: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False

    @property
    def support(self) -> int:
        """The distance beyond which weights are 0."""
        return 2 if self.mode == "cubic" else 1

    def weigh(self, distance: Floats) -> Floats:
        """The weights of entries by their distance."""
        x = np.abs(distance)
        if self.mode == "linear":
            triangle: Floats = (1 - x).clip(min=0.0)
            return triangle
        a = self.a
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        weights: Floats = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        return weights


def resampled(stretch: Stretch, how: Filter) -> AxisMatrix:
    """The matrix [after, before], or with more rows than that.

    Nearest: where single precision may round the coordinate to either of two entries, both have a row. Rows
    of constants, outside of a crop, are left out, but those that single precision may see inside.

    Raises:
        UnboundedError: a mode that convsv does not know.
        LimitError: it takes more than the model may.
    """
    _charge(stretch, how)
    if how.mode == "nearest":
        return _nearest(stretch, how)
    if how.mode not in ("linear", "cubic"):
        raise UnboundedError(f"its mode {how.mode!r} is unknown to convsv")
    if abs(how.a) > LARGEST_COEFFICIENT:
        raise UnboundedError(f"its cubic_coeff_a {short(how.a)} is far from any that is in use")
    return _interpolated(stretch, how)


def _charge(stretch: Stretch, how: Filter) -> None:
    """Take what the matrix costs: exact fractions for each row, and its entries."""
    wide = max(Fraction(1), 1 / stretch.scale) if how.antialias else Fraction(1)
    entries = stretch.after * 2 * (math.ceil(how.support * wide) + 1)
    what = f"resizing an axis from {stretch.before} to {stretch.after}"
    limits.spend(ROW * stretch.after + ENTRY * (entries + stretch.before), what)
    limits.hold(BYTES * (entries + stretch.after) + 16 * stretch.before, what)


def _nearest(stretch: Stretch, how: Filter) -> AxisMatrix:
    if how.antialias or how.nearest not in ROUNDED:
        raise UnboundedError(f"a nearest_mode {how.nearest!r} or antialiasing that is unknown to convsv")
    rounded, line = ROUNDED[how.nearest], stretch.line()
    low, high = (rounded(line.shifted(by)) for by in (-stretch.tolerance, stretch.tolerance))
    if stretch.robust:
        twice = Line(count=line.count, slope=2 * line.slope, offset=2 * line.offset)
        tie, exact = twice.floors() == twice.ceils(), rounded(line)
        low, high = np.where(tie, exact, low), np.where(tie, exact, high)
    low, high = (places.clip(0, stretch.before - 1) for places in (low, high))
    inside = _inside(stretch, line)
    two = inside & (low != high)
    columns = np.concatenate([low[inside], high[two]])
    rows = np.arange(len(columns), dtype=np.int64)
    shape = (max(1, len(columns)), stretch.before)
    return AxisMatrix(shape=shape, rows=rows, columns=columns, weights=np.ones(len(columns)))


def _interpolated(stretch: Stretch, how: Filter) -> AxisMatrix:
    line = stretch.line()
    inside = _inside(stretch, line)
    floors, remainders = line.floors()[inside], line.remainders()[inside]
    narrow = float(min(Fraction(1), stretch.scale)) if how.antialias else 1.0
    radius = math.ceil(how.support / narrow) + 1 if narrow < 1 else how.support
    steps = np.arange(1 - radius, radius + 1, dtype=np.int64)
    weights = how.weigh((remainders[:, None] - steps) * narrow)
    places = floors[:, None] + steps
    if how.exclude_outside and (how.mode == "cubic" or how.antialias):
        weights = np.where((places < 0) | (places >= stretch.before), 0.0, weights)
    totals = weights.sum(1, keepdims=True)
    least = min([1.0, *np.abs(totals).ravel().tolist()])
    if least < SMALLEST_SUM:
        raise UnboundedError("weights whose sum is nearly zero are divided by it")
    rows, steps_used = np.nonzero(weights)
    return AxisMatrix(
        shape=(stretch.after, stretch.before),
        rows=rows.astype(np.int64),
        columns=places[rows, steps_used].clip(0, stretch.before - 1),
        weights=(weights / totals)[rows, steps_used],
        error=margin(255) * (1 + abs(how.a)) * len(steps) / least**2,
    )


def _inside(stretch: Stretch, line: Line) -> NDArray[np.bool_]:
    """Whether each entry is read from the input, by a runtime that sees the coordinate within tolerance."""
    if not stretch.crops:
        return np.ones(line.count, np.bool_)
    low, high = line.shifted(stretch.tolerance), line.shifted(-stretch.tolerance)
    return (low.floors() >= 0) & (high.ceils() <= stretch.before - 1)
