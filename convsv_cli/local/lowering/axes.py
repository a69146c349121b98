"""Products by matrices along axes: Resize and Upsample, and cumulative sums.

The weights of an interpolation are exact fractions here, each rounded once. Runtimes compute them in single
precision, from coordinates that are rounded, too. Where the scale is a power of two, these are exact. Else,
they are off by less than `Stretch.tolerance`, and since all filters are continuous, weights are off by that
times their slope, whichever entries a runtime takes for the nearest ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from convsv_cli.digits import short
from convsv_cli.lipschitz.axis_matrices import AxisMatrix
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.rules.resizing import matrices, stretches
from convsv_cli.lipschitz.rules.resizing.axis import LARGEST_COEFFICIENT, Stretch
from convsv_cli.local.lowering.context import Lowering, Table
from convsv_cli.local.lowering.movement import numbers
from convsv_cli.local.maps import Contraction
from convsv_cli.local.runtimes import OffAffine, interpolated, products
from convsv_cli.local.steps import NoLocalCertificateError
from convsv_cli.model.graph import Node
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF_32, UP, times

LETTERS = "abcdefghijklm", "nopqrstuvwxyz"
UNDECIDED = "its scales change no size: some runtimes copy, others interpolate"
LARGEST = 2**22
"""Entries of a matrix."""
TINY = 1e-12
"""More than what rounding takes from the difference of two products of weights."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """How entries are interpolated, without stretching the filter.

    Attributes:
        mode: "linear" or "cubic".
        a: coefficient of the cubic (Keys 1981).
    """

    mode: str
    a: Fraction

    @property
    def taps(self) -> int:
        """How many entries each result may be of, at most."""
        return 4 if self.mode == "cubic" else 2

    def weigh(self, distance: Fraction) -> Fraction:
        """The weight of an entry."""
        x, a = abs(distance), self.a
        if self.mode == "linear":
            return max(1 - x, Fraction(0))
        if x <= 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else Fraction(0)

    def off(self, coordinate: float) -> float:
        """By how much a runtime's weights may be off, where its coordinates are off by so much.

        The slope of the cubic is at most |a| from 1 on, and before it is steepest at 1 or where it bends. In
        Horner's scheme, intermediate results are at most 6 + 48 |a|, and there are less than 8 roundings.
        """
        if self.mode == "linear":
            return coordinate + 4 * UNIT_ROUNDOFF_32
        a, steepest = self.a, abs(self.a)
        if a != -2 and 0 < (a + 3) / (3 * (a + 2)) < 1:
            steepest = max(steepest, abs((a + 3) ** 2 / (3 * (a + 2))))
        return float(steepest) * UP * coordinate + 8 * (6 + 48 * abs(float(a))) * UNIT_ROUNDOFF_32


def resized(node: Node, to: Lowering) -> None:
    """Resize and Upsample, with sizes that do not vary."""
    if any(to.varies(name) for name in node.inputs[1:] if name):
        raise NoLocalCertificateError("its sizes depend on the network's input")
    operation, rank = to.operation(node), len(to.shape(node.inputs[0]))
    try:
        found = {axis % rank: stretch for axis, stretch in stretches(operation).items()}
        if any(stretch.crops for stretch in found.values()):
            raise NoLocalCertificateError("there are no linear bounds of a crop")
        found = {axis: stretch for axis, stretch in found.items() if not stretch.kept}
        if found and to.shape(node.inputs[0]) == to.shape(node.outputs[0]):
            raise NoLocalCertificateError(UNDECIDED)
        if node.attribute("mode", "nearest") == "nearest":
            choices = {axis: matrices(operation, stretch) for axis, stretch in found.items()}
            _nearest(node, to, choices)
        else:
            _interpolated(node, to, found)
    except UnboundedError as error:
        raise NoLocalCertificateError(str(error)) from error


def _nearest(node: Node, to: Lowering, choices: dict[int, list[AxisMatrix]]) -> None:
    """Each entry is a copy."""
    name, output = node.inputs[0], node.outputs[0]
    places = [np.arange(size) for size in to.shape(name)]
    for axis, found in choices.items():
        columns = found[0].columns
        same = all(np.array_equal(columns, other.columns) for other in found)
        if not same or len(columns) != to.shape(output)[axis]:
            raise NoLocalCertificateError("rounding decides which of two entries is nearest")
        places[axis] = columns
    index = numbers(to.shape(name)).numpy()[np.ix_(*places)] - 1
    to.select(node, name, torch.from_numpy(index).flatten()[None], to.shape(output), output=output)


def _interpolated(node: Node, to: Lowering, found: dict[int, Stretch]) -> None:
    if node.attribute("antialias", 0) or node.attribute("exclude_outside", 0):
        raise NoLocalCertificateError("there are no linear bounds of antialiasing, nor of exclude_outside")
    a = node.attribute("cubic_coeff_a", -0.75)
    if not abs(a) <= LARGEST_COEFFICIENT:
        raise NoLocalCertificateError(f"its cubic_coeff_a {short(a)} is far from any that is in use")
    mode = node.attribute("mode", "")
    kernel = Kernel(mode="linear" if mode == "bilinear" else mode, a=Fraction(a))
    if kernel.mode not in ("linear", "cubic"):
        raise NoLocalCertificateError(f"its mode {mode!r} is unknown to convsv")
    axes = {axis: _matrix(stretch, kernel) for axis, stretch in found.items()}
    sums = [axes[axis].largest_row() for axis in found]
    wrong = [kernel.taps * kernel.off(_coordinate_error(stretch)) for stretch in found.values()]
    both = math.prod(a + b for a, b in zip(sums, wrong, strict=True))
    off = interpolated(math.prod(sums), (both - math.prod(sums)) * UP + TINY, kernel.taps ** len(axes))
    _along(node, to, axes, off)


def _coordinate_error(stretch: Stretch) -> float:
    """0 where each step to a coordinate is exact in single precision, whatever the formula."""
    slope = stretch.line().slope
    power = all(number & (number - 1) == 0 for number in (slope.numerator, slope.denominator))
    return 0.0 if stretch.robust and power else float(stretch.tolerance)


def _matrix(stretch: Stretch, kernel: Kernel) -> AxisMatrix:
    """The weights of an axis, each rounded once; what is beyond the ends is the entry there."""
    if stretch.before * stretch.after > LARGEST:
        raise NoLocalCertificateError(f"it is a matrix of more than {LARGEST:,} entries")
    line = stretch.line()
    found: dict[tuple[int, int], Fraction] = {}
    for row in range(stretch.after):
        at = line.slope * row + line.offset
        first = math.floor(at) - kernel.taps // 2 + 1
        for place in range(first, first + kernel.taps):
            key = row, min(max(place, 0), stretch.before - 1)
            found[key] = found.get(key, Fraction(0)) + kernel.weigh(at - place)
    rows, columns = np.array([*found], dtype=np.int64).T
    weights = np.array([float(weight) for weight in found.values()])
    return AxisMatrix(shape=(stretch.after, stretch.before), rows=rows, columns=columns, weights=weights)


def cumulated(node: Node, to: Lowering) -> None:
    """CumSum."""
    if to.varies(node.inputs[1]):
        raise NoLocalCertificateError("its axis depends on the network's input")
    shape = to.shape(node.inputs[0])
    (axis,) = to.integers(node.inputs[1]) or ()
    size = shape[axis]
    if size * size > LARGEST:
        raise NoLocalCertificateError(f"it is a matrix of more than {LARGEST:,} entries")
    places = np.arange(size)
    apart = places[:, None] - places
    apart = -apart if node.attribute("reverse", 0) else apart
    rows, columns = np.nonzero(apart >= bool(node.attribute("exclusive", 0)))
    matrix = AxisMatrix(shape=(size, size), rows=rows, columns=columns, weights=np.ones(len(rows)))
    _along(node, to, {axis % len(shape): matrix}, products(1.0))


def _along(node: Node, to: Lowering, axes: dict[int, AxisMatrix], off: OffAffine) -> None:
    """Add the product by a matrix along each of some axes."""
    name, output = node.inputs[0], node.outputs[0]
    rank = len(to.shape(name))
    before, after = (letters[:rank] for letters in LETTERS)
    result = "".join(after[i] if i in axes else before[i] for i in range(rank))
    factors = tuple((after[axis] + before[axis], _dense(matrix)) for axis, matrix in axes.items())
    map_ = Contraction(
        taken=to.shape(name),
        given=to.shape(output),
        roundings=sum(max(matrix.shape) + 2 for matrix in axes.values()),
        axes=(before, result),
        factors=factors,
    )
    norm = times(*(matrix.norm() for matrix in axes.values()))
    to.affine(node, [(name, map_, norm)], off=off, output=output)


def _dense(matrix: AxisMatrix) -> Tensor:
    dense = torch.zeros(matrix.shape, dtype=torch.float64)
    dense[torch.from_numpy(matrix.rows), torch.from_numpy(matrix.columns)] = torch.from_numpy(matrix.weights)
    return dense


ROWS: Table = {"CumSum": cumulated, **dict.fromkeys(("Resize", "Upsample"), resized)}
