"""Whether all eigenvalues of symmetric matrices of narrow band are below a level, by Cholesky factorizations.

Only what the next columns need of a factor is held. Where it runs to its end in floating point, the matrix
is positive definite up to D, |d_ij| <= g sqrt(a_ii a_jj) with g = gamma / (1 - gamma) of the most roundings
in a row (Demmel; Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., theorem 10.5). With band b,
no inner product has more than b terms that are not exactly zero, and no row of D more than 2 b + 1 entries:

    |D| <= min(p, 2 b + 1) g max_i a_ii.

Blocks, whose products are summed in any order, change nothing in this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma
from convsv_cli.spectral.matrix_norm import SMALLEST

COLUMNS = 128
"""About how many are eliminated at a time."""
ROWS = 256
"""Of what they change, how many at a time: what is above the diagonal would be as much again."""
MOST = 0.5  # of a gamma that leaves a digit
ROOM = 4
"""So many times these columns go by before the window moves on."""
Columns = Callable[[int, int], torch.Tensor]
"""Gives those from one to another of lower triangles, with the rows from the first of them on as far as they
reach: [n, rows, columns], to be overwritten."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """The shape of what is factorized.

    Attributes:
        side: p.
        reach: how many rows below its diagonal block a block of columns has.
        unit: columns are asked for by multiples of so many.
    """

    side: int
    reach: int
    unit: int

    @property
    def margin(self) -> float:
        """What rounding can hide of the largest eigenvalue, as a share of the level; infinite where all.

        The diagonal of the level less the matrix takes another rounding of each of both.
        """
        band = self.reach + self.unit - 1
        most = gamma(min(self.side, band + 1) + 3)
        if most >= MOST:
            return math.inf
        return min(self.side, 2 * band + 1) * most / (1 - most) + 8 * UNIT_ROUNDOFF

    @property
    def work(self) -> float:
        """Multiplications of a factorization."""
        height = min(self.side, self.reach) + self._step
        return self.side * height * (height + ROWS) / 2

    @property
    def bytes(self) -> float:
        """What a factorization holds at most."""
        return 8.0 * (2 * self._room**2 + 3 * self._step * (self.reach + self._step))

    @property
    def steps(self) -> int:
        """How often columns are asked for."""
        return -(-self.side // self._step)

    @property
    def _step(self) -> int:
        return min(self.side, max(1, COLUMNS // self.unit) * self.unit)

    @property
    def _room(self) -> int:
        """Side of the window."""
        return min(self.side, self.reach + (ROOM + 1) * self._step)

    def below(self, columns: Columns, level: float, error: float) -> bool:
        """Whether `lambda_max < level` is proven of all positive semidefinite [n, p, p].

        Args:
            columns: of the matrices.
            level: not so small that the squares of entries like it underflow; below, nothing is proven.
            error: bound of the spectral norm of a matrix minus what it stands for.
        """
        shift = level - error - self.margin * (level + error)
        if not SMALLEST[UNIT_ROUNDOFF] < shift < math.inf:
            return False
        window, origin, last = torch.empty(0), 0, 0
        for start in range(0, self.side, self._step):
            stop = min(start + self._step, self.side)
            end = min(stop + self.reach, self.side)
            block = columns(start, stop).neg_()
            if not start or end - origin > self._room:
                moved = block.new_zeros(len(block), self._room, self._room)
                kept = slice(start - origin, last - origin)
                if start:
                    moved[:, : last - start, : last - start] = window[:, kept, kept]
                window, origin = moved, start
            last = end
            eliminated, left = slice(start - origin, stop - origin), slice(stop - origin, end - origin)
            block += window[:, start - origin : end - origin, eliminated]
            diagonal = block[:, : stop - start]
            diagonal.diagonal(dim1=-2, dim2=-1).add_(shift)
            factors, failed = torch.linalg.cholesky_ex(diagonal)
            if failed.any():
                return False
            below = torch.linalg.solve_triangular(
                factors.mT, block[:, stop - start :], upper=True, left=False
            )
            rest = window[:, left, left]
            for row in range(0, rest.shape[1], ROWS):
                part = below[:, row : row + ROWS]
                rest[:, row : row + ROWS, : row + ROWS].baddbmm_(part, below[:, : row + ROWS].mT, alpha=-1)
        return True
