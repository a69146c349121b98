"""Linear maps that act on each axis by itself: their matrices, and sliding windows, along one axis.

The whole map is the Kronecker product of one matrix per axis, and its norm the product of their norms. Beside
them what is left of a vector when its mean is taken off, times factors.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli import limits
from convsv_cli.numerics.rounding import UP, UP_MANY, margin, root, up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]
    Weights = NDArray[np.float64]

DENSE = 2**22  # entries of a matrix whose norm is certified; beyond, sqrt(norm_1 norm_inf) is taken
CLOSE = 1 + 1e-9
LARGE = 2**16  # scales; beyond, max|g| is taken, which is at most 1/(2n) above the norm
HALVINGS = 50
MOST = 2**22  # entries in windows that are enumerated
ENTRY, BYTES = 16, 64  # steps and bytes of the model's allowance that each of them takes


@dataclass(frozen=True, kw_only=True, eq=False)
class AxisMatrix:
    """A sparse matrix; entries at the same place add up.

    Attributes:
        shape: size after, size before.
        rows, columns, weights: of its entries, [e] each.
        error: more than what rounding does to any weight.
    """

    shape: tuple[int, int]
    rows: Indices
    columns: Indices
    weights: Weights
    error: float = margin(3)

    def norm(self) -> float:
        """Upper bound of the spectral norm, to about 1e-9 up to `DENSE` entries."""
        if not self.weights.size:
            return 0.0
        cheap = math.sqrt(self._largest_sum(self.columns) * self.largest_row()) * UP
        if cheap > CLOSE * self._longest() and math.prod(self.shape) <= DENSE:
            with suppress(limits.LimitError):
                cheap = min(cheap, self._certified())
        return (cheap + self._margin()) * UP

    def largest_row(self) -> float:
        """Largest sum of absolute weights of a row, rounded up; 0 where there is none."""
        return self._largest_sum(self.rows) if self.rows.size else 0.0

    def _largest_sum(self, lines: Indices) -> float:
        """A sum of n positive numbers is within n 2^-53 of itself (Higham, section 4.2)."""
        most = int(np.bincount(lines).max())
        return float(np.bincount(lines, np.abs(self.weights)).max()) * up(most)

    def _longest(self) -> float:
        """The length of the longest row or column, which the norm is at least (positive weights)."""
        squares = np.square(self.weights)
        return math.sqrt(max(np.bincount(lines, squares).max() for lines in (self.rows, self.columns)))

    def _certified(self) -> float:
        import torch

        from convsv_cli.spectral.matrix_norm import matrix_norm

        work = math.prod(self.shape) * min(self.shape) / 8
        limits.spend(work, "the norm of a matrix along one axis", share=0.5)
        dense = np.zeros(self.shape)
        np.add.at(dense, (self.rows, self.columns), self.weights)
        return matrix_norm(torch.from_numpy(dense)[None]).upper

    def _margin(self) -> float:
        """What the roundings of all weights, and of the sums at one place, add to the norm."""
        crowd = [int(np.bincount(lines).max()) for lines in (self.rows, self.columns)]
        worst = self.error + margin(crowd[0]) * float(np.abs(self.weights).max())
        return worst * math.sqrt(math.prod(crowd))


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
        return self.size is not None and self.pads is not None and self._entries() <= MOST

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
        return math.sqrt(self.overlap() / self.kernel if whole else self.overlap()) * UP

    def sum_norm(self) -> float:
        """The norm of the sums; over all sizes where it is unknown."""
        return self.sums().norm() if self.known else root(self.overlap() * self.kernel)

    @property
    def never_empty(self) -> bool:
        """Whether each window surely holds an entry."""
        if self.dilation > 1 or self.pads is None:
            return self.pads == (0, 0) and not self.ceil
        return max(self.pads) < self.kernel

    def _count(self) -> int:
        """How many windows there are."""
        before, after = self.pads or (0, 0)
        free = (self.size or 0) + before + after - (self.kernel - 1) * self.dilation - 1
        return max(0, (-(-free // self.stride) if self.ceil else free // self.stride) + 1)

    def _entries(self) -> int:
        """How much there is to enumerate: the entries along the axis, and those of all windows, or of one."""
        return max(self.size or 0, max(1, self._count()) * self.kernel)

    def _places(self) -> NDArray[np.int64]:
        """Where the taps of each window are, [windows, kernel].

        Raises:
            LimitError: they are more than the model may take.
        """
        before, _ = self.pads or (0, 0)
        entries = self._entries()
        limits.spend(ENTRY * entries + limits.OBJECT, "enumerating sliding windows")
        limits.hold(BYTES * entries, "enumerating sliding windows")
        starts = np.arange(self._count(), dtype=np.int64)[:, None] * self.stride - before
        return starts + np.arange(self.kernel, dtype=np.int64) * self.dilation

    def _matrix(self, rows: NDArray[np.int64], columns: NDArray[np.int64], weights: object) -> AxisMatrix:
        shape = (self._count(), self.size or 0)
        return AxisMatrix(shape=shape, rows=rows, columns=columns, weights=np.asarray(weights, np.float64))


def centred_norm(scales: NDArray[np.float64]) -> float:
    """Upper bound of the norm of diag(g)(I - 11^T/n), the largest over the rows g of finite [rows, n].

    Its square is the largest eigenvalue of diag(d) - gg^T/n, d = g^2. The secular equation (Golub 1973) is
    sum 1/(x - d_i) = 0, whose left side decreases between the two largest d: where it is proven to be
    negative, rounding included, the eigenvalue is smaller. It is in [(1 - 1/n) max d, max d].
    """
    n = scales.shape[1]
    largest = float(np.abs(scales).max(initial=0.0))
    if n < 2 or largest == 0:
        return 0.0
    if scales.size > LARGE:
        return largest
    squares = np.square(scales / largest)
    second, high = np.partition(squares, -2)[:, -2:].T
    low = np.maximum(second, high * (1 - 1 / n))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = 1 / (middle[:, None] - squares)
            above = terms.sum(1) + margin(n + 3) * np.abs(terms).sum(1) < 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return largest * math.sqrt(float(high.max())) * UP_MANY
