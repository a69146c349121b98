"""Where Resize reads: coordinates in the input of each entry of the output, as exact fractions.

In every mode the coordinate is an affine function of the index (ONNX, operator Resize).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.operation import UnboundedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        below = lcm(self.slope.denominator, self.offset.denominator)
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
        """Whether nothing changes along the axis; onnxruntime also leaves it as it is where it is cropped."""
        return self.scale == 1 and self.before == self.after

    @property
    def tolerance(self) -> Fraction:
        """More than what a runtime's single precision does to a coordinate."""
        return Fraction(1 + max(self.before, self.after), 2**21)

    @property
    def robust(self) -> bool:
        """Whether single precision has those coordinates exactly that are halves of integers."""
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
            raise UnboundedError(
                f"its coordinate_transformation_mode {self.mode!r} is none that convsv knows"
            )
        slope, offset = lines[self.mode]
        return Line(count=self.after, slope=slope, offset=offset)
