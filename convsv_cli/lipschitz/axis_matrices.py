"""Linear maps that act on each axis by itself: the norm is the product of the norms along the axes.

The whole map is the Kronecker product of one matrix an axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.numerics.rounding import UP, margin, up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]
    Weights = NDArray[np.float64]

DENSE = 2**22  # entries of a matrix whose norm is certified; beyond, sqrt(norm_1 norm_inf) is taken
CLOSE = 1 + 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class AxisMatrix:
    """A sparse matrix; entries at the same place add up.

    Attributes:
        shape: size after, size before.
        rows, columns, weights: of its entries, [e] each.
        error: more than the rounding of any weight.
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

        dense = np.zeros(self.shape)
        np.add.at(dense, (self.rows, self.columns), self.weights)
        return matrix_norm(torch.from_numpy(dense)[None]).upper

    def _margin(self) -> float:
        """What the roundings of all weights, and of the sums at one place, add to the norm."""
        crowd = [int(np.bincount(lines).max()) for lines in (self.rows, self.columns)]
        worst = self.error + margin(crowd[0]) * float(np.abs(self.weights).max())
        return worst * math.sqrt(math.prod(crowd))


def root(count: float) -> float:
    """The square root, rounded up."""
    return math.sqrt(count) * UP
