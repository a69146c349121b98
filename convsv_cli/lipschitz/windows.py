"""Sliding windows along one axis: those of pooling, and of Col2Im."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.axis_matrices import AxisMatrix, root
from convsv_cli.lipschitz.operation import Operation, UnboundedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 2**24  # taps that are enumerated


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Window w holds the entries `w stride + j dilation - pads[0]` for j < kernel, as far as they exist.

    Attributes:
        size: entries along the axis; None where it is unknown.
        kernel, stride, dilation: in entries.
        pads: before and after; None where it is unknown.
        ceil: a last window that sticks out is one too.
    """

    size: int | None
    kernel: int
    stride: int = 1
    dilation: int = 1
    pads: tuple[int, int] | None = (0, 0)
    ceil: bool = False

    @property
    def known(self) -> bool:
        """Whether they can be enumerated, in reasonable time."""
        return self.size is not None and self.pads is not None and self.size * self.kernel <= MOST

    def overlap(self) -> int:
        """The largest number of windows that one entry belongs to; over all sizes where it is not `known`.

        Taps j of the windows that meet at an entry are equal modulo stride / gcd(stride, dilation).
        """
        if not self.known:
            return -(-self.kernel * math.gcd(self.stride, self.dilation) // self.stride)
        _, columns = self.taps()
        return int(np.bincount(columns).max()) if columns.size else 0

    def taps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every pair of a window and an entry in it; needs a known size.

        With `ceil`, ONNX leaves out windows that start in the padding after the end. They hold no entry.
        """
        places = self._places()
        inside = (places >= 0) & (places < (self.size or 0))
        return np.nonzero(inside)[0].astype(np.int64), places[inside]

    def sums(self) -> AxisMatrix:
        """The sum over each window."""
        rows, columns = self.taps()
        return self._matrix(rows, columns, np.ones(len(rows)))

    def averages(self, *, include_pad: bool) -> AxisMatrix:
        """The average over each window; what sticks out beyond the padding never counts."""
        rows, columns = self.taps()
        counts = np.bincount(rows, minlength=1)
        if include_pad:
            after = 0 if self.pads is None else self.pads[1]
            counts = (self._places() < (self.size or 0) + after).sum(1)
        return self._matrix(rows, columns, 1 / counts[rows])

    def average_norm(self, *, include_pad: bool) -> float:
        """The norm of the averages; over all sizes where it is unknown.

        A square of averages is at most the average of squares, in which an entry weighs 1/kernel where all of
        a window counts, and at most 1 else.
        """
        if self.known:
            return self.averages(include_pad=include_pad).norm()
        whole = not self.ceil and (include_pad or self.pads == (0, 0))
        return root(self.overlap() / self.kernel if whole else self.overlap())

    def sum_norm(self) -> float:
        """The norm of the sums; over all sizes where it is unknown."""
        return self.sums().norm() if self.known else root(self.overlap() * self.kernel)

    @property
    def never_empty(self) -> bool:
        """Whether each window surely holds an entry."""
        if self.dilation > 1 or self.pads is None:
            return self.pads == (0, 0) and not self.ceil
        return max(self.pads) < self.kernel

    def _places(self) -> NDArray[np.int64]:
        """Where the taps of each window are, [windows, kernel]."""
        before, after = self.pads or (0, 0)
        free = (self.size or 0) + before + after - (self.kernel - 1) * self.dilation - 1
        count = max(0, (-(-free // self.stride) if self.ceil else free // self.stride) + 1)
        starts = np.arange(count, dtype=np.int64)[:, None] * self.stride - before
        return starts + np.arange(self.kernel, dtype=np.int64) * self.dilation

    def _matrix(self, rows: NDArray[np.int64], columns: NDArray[np.int64], weights: object) -> AxisMatrix:
        shape = (len(self._places()), self.size or 0)
        return AxisMatrix(shape=shape, rows=rows, columns=columns, weights=np.asarray(weights, np.float64))


def pooling_windows(operation: Operation) -> tuple[Windows, ...]:
    """Those of a pooling node, an axis each."""
    kernel = operation.attribute("kernel_shape", ())
    if not kernel:
        raise UnboundedError("its attribute kernel_shape is missing")
    rank, shape = len(kernel), operation.input(0).shape
    sizes = (None,) * rank if shape is None else shape[-rank:]
    strides = operation.attribute("strides", (1,) * rank)
    dilations = operation.attribute("dilations", (1,) * rank)
    axes = zip(sizes, kernel, strides, dilations, _pads(operation, rank), strict=True)
    ceil = bool(operation.attribute("ceil_mode", 0))
    return tuple(
        Windows(
            size=size,
            kernel=taps,
            stride=stride,
            dilation=dilation,
            pads=_same(operation, size, taps, stride, dilation) if pads is None else pads,
            ceil=ceil,
        )
        for size, taps, stride, dilation, pads in axes
    )


def _pads(operation: Operation, rank: int) -> tuple[tuple[int, int] | None, ...]:
    """Before and after each axis; None where they follow from the sizes."""
    automatic = operation.attribute("auto_pad", "NOTSET")
    if automatic == "NOTSET":
        pads = operation.attribute("pads", (0,) * (2 * rank))
        return tuple(zip(pads[:rank], pads[rank:], strict=True))
    if automatic == "VALID":
        return ((0, 0),) * rank
    if automatic not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnboundedError(f"its auto_pad {automatic!r} is none that ONNX has")
    return (None,) * rank


def _same(
    operation: Operation, size: int | None, kernel: int, stride: int, dilation: int
) -> tuple[int, int] | None:
    """Padding such that there are ceil(size / stride) windows; with dilation, runtimes do not agree on it."""
    if size is None or dilation > 1:
        return None
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    small, large = total // 2, total - total // 2
    return (small, large) if operation.attribute("auto_pad", "") == "SAME_UPPER" else (large, small)
