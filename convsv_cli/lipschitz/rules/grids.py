"""GridSample of an image at points that do not vary, and AffineGrid, which makes such points."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli import limits
from convsv_cli.lipschitz.axis_matrices import AxisMatrix
from convsv_cli.lipschitz.operands import ZERO, first, integers, magnitude
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError
from convsv_cli.numerics.intervals import Range, outward_range
from convsv_cli.numerics.rounding import UP_MANY, margin, root, times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]

TAP, BYTES = 64, 128
"""Steps and bytes of the model's allowance for each weight of each point."""
TIE = 2.0**-16
"""More than what single precision loses of a coordinate, relative to the size of its axis."""
CUBIC = 1.375
"""The largest sum of absolute weights of four cubic taps, at the middle (Keys 1981, a = -3/4)."""
TAPS = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of the image.

    Attributes:
        size: its entries.
        mode: "nearest", "linear" or "cubic".
        padding: "zeros", "border" or "reflection".
        aligned: -1 and 1 are the middles of its first and last entry, instead of their outer ends.
        early: coordinates beyond the border are brought back, as in ONNX's definition; else, as in
            onnxruntime, the entries around them, which makes a difference for four taps.
    """

    size: int
    mode: str
    padding: str
    aligned: bool
    early: bool = True

    def taps(self, grid: Floats) -> tuple[Whole, Floats]:
        """Where points read, -1 for nowhere, and with which weights; both [points, taps].

        Points that are about as near to two entries may read either, so that both are taps of weight 1.
        """
        ends = (0.0, self.size - 1.0) if self.aligned else (-0.5, self.size - 0.5)
        places = ends[0] + (grid + 1) / 2 * (ends[1] - ends[0])
        if self.mode == "nearest":
            apart = TIE * (1 + np.abs(places) + self.size)
            near = np.stack([np.rint(places - apart), np.rint(places + apart)], 1)
            weights = np.ones_like(near)
            weights[near[:, 0] == near[:, 1], 1] = 0.0
            return self._inside(self._folded(near, ends), ends), weights
        places = self._folded(places, ends)
        below = np.floor(places)
        offsets = np.array(TAPS[self.mode])
        return self._inside(below[:, None] + offsets, ends), self._weights(places - below)

    def _weights(self, rest: Floats) -> Floats:
        if self.mode == "linear":
            return np.stack([1 - rest, rest], 1)
        near, far = rest, 1 - rest
        return np.stack([_outer(near), _inner(near), _inner(far), _outer(far)], 1)

    def _folded(self, places: Floats, ends: tuple[float, float]) -> Floats:
        """Coordinates beyond the ends, brought back."""
        low, high = ends
        outside = (places < low) | (places > high)
        if self.padding == "border" and self.early:
            return np.where(outside, places.clip(0, self.size - 1), places)
        if self.padding == "reflection":
            return np.where(outside, _reflected(places, low, high), places)
        return places

    def _inside(self, places: Floats, ends: tuple[float, float]) -> Whole:
        """The entries that whole coordinates mean."""
        if self.padding == "border":
            places = places.clip(0, self.size - 1)
        elif self.padding == "reflection":
            places = _reflected(places, *ends).clip(0, self.size - 1)
        missing = (places < 0) | (places > self.size - 1)
        return np.where(missing, -1, places).astype(np.int64)


def sampled(operation: Operation) -> float:
    """GridSample: the norm of the explicit matrix of each image, which all its channels share.

    Nearest: the root of how many points read the same entry. Where the matrix is large, the root of the
    product of its largest absolute sums of a row and of a column. Where runtimes differ, the larger counts.
    """
    if not operation.input(1).constant:
        raise UnboundedError(f"where it looks, {operation.input(1).name!r}, varies with the network's input")
    shape, grid = operation.input(0).sizes(), operation.input(1).value().astype(np.float64)
    if not np.isfinite(grid).all():
        raise UnboundedError("its grid holds NaN or infinity")
    axes = _axes(operation, shape[2:])
    weights = 2 * grid.size * 4 ** len(axes)
    limits.spend(TAP * weights, "where a grid looks")
    limits.hold(BYTES * weights, "where a grid looks")
    norms = [_norm(axes, points.reshape(-1, len(axes))) for points in grid]
    if axes[0].mode == "cubic" and axes[0].padding == "border":
        late = [replace(axis, early=False) for axis in axes]
        norms += [_norm(late, points.reshape(-1, len(axes))) for points in grid]
    return times(max(norms, default=0.0), operation.input(0).lipschitz)


def _axes(operation: Operation, sizes: tuple[int, ...]) -> list[Axis]:
    mode, padding = operation.attribute("mode", "linear"), operation.attribute("padding_mode", "zeros")
    if mode not in TAPS or padding not in ("zeros", "border", "reflection"):
        raise UnboundedError(f"its mode {mode!r} with the padding {padding!r} is unknown to convsv")
    aligned = bool(operation.attribute("align_corners", 0))
    if aligned and padding == "reflection" and 1 in sizes:
        raise UnboundedError("a reflection at both ends of an axis of length 0")
    return [Axis(size=size, mode=mode, padding=padding, aligned=aligned) for size in sizes]


def _norm(axes: list[Axis], points: Floats) -> float:
    """Of the matrix of one image; the last number of a point is its place along the first axis."""
    entries, weights = np.zeros((len(points), 1), np.int64), np.ones((len(points), 1))
    for axis, column in zip(axes, points.T[::-1], strict=True):
        places, factors = axis.taps(column)
        outside = (entries[:, :, None] < 0) | (places[:, None, :] < 0)
        entries = np.where(outside, -1, entries[:, :, None] * axis.size + places[:, None, :])
        entries = entries.reshape(len(points), -1)
        weights = (weights[:, :, None] * factors[:, None, :]).reshape(len(points), -1)
    kept = (entries >= 0) & (weights != 0)
    rows, columns = np.nonzero(kept)[0], entries[kept]
    if axes[0].mode == "nearest":
        pairs = np.unique(np.stack([rows, columns]), axis=1)
        return root(int(np.unique(pairs[1], return_counts=True)[1].max(initial=0)))
    return AxisMatrix(
        shape=(len(points), math.prod(axis.size for axis in axes)),
        rows=rows.astype(np.int64),
        columns=columns,
        weights=weights[kept],
        error=margin(64 * (1 + max(axis.size for axis in axes))),
    ).norm()


def _outer(distance: Floats) -> Floats:
    """The weight of an entry at 1 + distance (Keys 1981, a = -3/4)."""
    x, a = distance + 1, -0.75
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def _inner(distance: Floats) -> Floats:
    """The weight of an entry at a distance of at most 1."""
    a = -0.75
    return ((a + 2) * distance - (a + 3)) * distance * distance + 1


def _reflected(places: Floats, low: float, high: float) -> Floats:
    """A path to and fro between both ends."""
    span = high - low
    turned = np.abs(places - low) % (2 * span)
    return low + np.minimum(turned, 2 * span - turned)


def _sampled_range(operation: Operation) -> Range:
    """Averages of entries and of zeros; four cubic taps weigh up to 1.375 along each axis."""
    axes = _axes(operation, operation.input(0).sizes()[2:])
    source = operation.input(0).range
    source = source.hull(ZERO) if axes[0].padding == "zeros" else source
    if axes[0].mode != "cubic":
        return source
    largest = source.magnitude * CUBIC ** len(axes) * UP_MANY
    return outward_range(-largest, largest)


def spread(operation: Operation) -> float:
    """AffineGrid: the points times the columns of theta, which are orthogonal: the root of their number.

    Coordinates are at most 1, so that the constant is the longest of their columns. An axis of one point,
    with aligned corners, may be -1 instead of 0, which goes along with the constant then.
    """
    sizes = _points(operation)
    single = sizes.count(1) if operation.attribute("align_corners", 0) else 0
    return times(root(math.prod(sizes) * (1 + single)), first(operation).lipschitz)


def _points(operation: Operation) -> tuple[int, ...]:
    """How many points there are along each axis."""
    if operation.input(1).held:
        return operation.output_shape()[1:-1]
    return integers(operation, 1, "size")[2:]


def _spread_range(operation: Operation) -> Range:
    """Sums of one entry of theta for each axis and one more, times at most 1."""
    largest = magnitude(operation.input(0)) * operation.input(0).sizes()[-1]
    return outward_range(-largest, largest)


RULES = {
    "GridSample": Rule(lipschitz=sampled, range=_sampled_range),
    "AffineGrid": Rule(lipschitz=spread, range=_spread_range),
}
