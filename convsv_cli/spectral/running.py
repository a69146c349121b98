"""The largest spectral norm of a stream of matrices, enclosed from both sides."""

from __future__ import annotations

import math

import torch

from convsv_cli.report import Interval
from convsv_cli.spectral.certify import gram, proven_below, proven_upper, rayleigh_lower, round_up

SAMPLE = 8


class RunningNorm:
    """Accumulates `max_i sigma_1(A_i)` over batches of float64 or complex128 matrices.

    A matrix that one Cholesky factorization proves to lie below the level of the largest so far costs
    nothing else; only the others have their eigenvalues computed. The level only rises, so that every
    earlier proof holds at the end.
    """

    def __init__(self) -> None:
        self._top = 0.0
        self._level = 0.0
        self._best: torch.Tensor | None = None

    def include(self, matrices: torch.Tensor) -> None:
        """Take in a batch [b, p, q] of finite matrices, of magnitudes whose squares are normal."""
        if self._best is None and len(matrices) > 2 * SAMPLE:
            self.include(matrices[:: len(matrices) // SAMPLE])
        inner, grams = max(matrices.shape[-2:]), gram(matrices)
        left = ~proven_below(grams, inner, self._level)
        if not left.any():
            return
        grams, matrices = grams[left], matrices[left]
        largest, index = _largest_eigenvalues(grams).max(0)
        if self._best is None or float(largest) > self._top:
            self._top, self._best = max(float(largest), 0.0), matrices[index]
        self._level = max(self._level, proven_upper(grams, inner, self._top))

    def enclosure(self) -> Interval:
        """`[lower, upper]` around the largest norm of all that was included."""
        if self._best is None:
            return Interval()
        upper = round_up(math.sqrt(self._level))
        return Interval(lower=min(rayleigh_lower(self._best, self._level), upper), upper=upper)


def _largest_eigenvalues(grams: torch.Tensor) -> torch.Tensor:
    if grams.shape[-1] == 1:
        return grams[..., 0, 0].real
    eigenvalues: torch.Tensor = torch.linalg.eigvalsh(grams)
    return eigenvalues[..., -1]
