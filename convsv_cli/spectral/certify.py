r"""Proofs that Hermitian matrices are bounded, by Cholesky factorizations with rounding accounted for.

lambda_max(H) < mu exactly when mu I - H is positive definite, and a Cholesky factorization that runs to
its end in floating point proves that of a matrix nearby: lambda_min >= -sum_j phi_{j+1} a_jj with phi =
gamma / (1 - gamma) (Rump, Verification of Positive Definiteness, BIT 2006, theorem 2.3). The diagonal of
mu I - H is at most mu where H is positive semidefinite; forming it costs another rounding of mu and of
h_jj.

Complex entries count as real sums of four times the length, which covers their products and moduli. This
needs products by the definition: no Strassen, no 3M complex products, no TF32. Every order of summation
has the same bound, so that batches of middle-sized matrices may be factorized by blocks, all at once.

A success *proves* the inequality for every matrix within the given error of H. A failure proves nothing.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, UNIT_ROUNDOFF_32, gamma, unit_roundoff

BLOCK, MIDDLE, BATCH = 32, 192, 4  # sizes between which blocks beat LAPACK, one matrix after the other
SMALLEST = {UNIT_ROUNDOFF: 2.0**-450, UNIT_ROUNDOFF_32: 2.0**-50}
DOUBLINGS = 200
TINY = 2.0**-200  # beside matrices scaled to entries of about 1


def proven_below(matrices: torch.Tensor, mu: float, error: float = 0.0) -> torch.Tensor:
    """Whether `lambda_max < mu` is proven: Hermitian positive semidefinite [n, p, p] -> bool [n].

    Args:
        matrices: computed, in any of the four real and complex types; overwritten.
        mu: the level, not so small that the squares of entries like it underflow; below, nothing is proven.
        error: bound of the spectral norm of `matrices` minus what they stand for.
    """
    p = matrices.shape[-1]
    shift = mu - error - cholesky_margin(p, matrices.dtype) * (mu + error)
    if not SMALLEST[unit_roundoff(matrices.dtype)] < shift < math.inf:
        return torch.full(matrices.shape[:1], fill_value=mu == math.inf, device=matrices.device)
    if p == 1:
        return matrices[:, 0, 0].real < shift
    shifted = matrices.neg_()
    shifted.diagonal(dim1=-2, dim2=-1).add_(shift)
    return _positive_definite(shifted)


def _positive_definite(matrices: torch.Tensor) -> torch.Tensor:
    """Whether Cholesky factorizations of [n, p, p], which they overwrite, run to their end: bool [n]."""
    count, p = matrices.shape[:2]
    if count < BATCH or not BLOCK < p <= MIDDLE:
        _, info = torch.linalg.cholesky_ex(matrices)
        return torch.eq(info, 0)
    failed = torch.zeros(count, dtype=torch.int32, device=matrices.device)
    for start in range(0, p, BLOCK):
        stop = min(start + BLOCK, p)
        factor, info = torch.linalg.cholesky_ex(matrices[:, start:stop, start:stop])
        failed |= info
        if stop < p:
            below = matrices[:, stop:, start:stop]
            below = torch.linalg.solve_triangular(factor.mH, below, upper=True, left=False)
            matrices[:, stop:, stop:].baddbmm_(below, below.mH, alpha=-1)
    return torch.eq(failed, 0)


@lru_cache(maxsize=1024)
def cholesky_margin(p: int, dtype: torch.dtype) -> float:
    """What rounding can hide of `lambda_max` [p, p], as a share of the level; infinite where that is all."""
    u, length = unit_roundoff(dtype), 4 if dtype.is_complex else 1
    if gamma(length * (p + 3), u) >= 0.5:
        return math.inf
    gammas = (gamma(length * (j + 3), u) for j in range(1, p + 1))
    return sum(g / (1 - g) for g in gammas) + 8 * u


def proven_level(matrices: torch.Tensor, top: float, error: float = 0.0) -> float:
    """A level just above `top`, an estimate of the largest eigenvalue, that is proven for all `matrices`.

    Gives infinity where no level can be proven.
    """
    excess = max(2 * (error + cholesky_margin(matrices.shape[-1], matrices.dtype) * top), TINY)
    for _ in range(DOUBLINGS):
        if proven_below(matrices.clone(), top + excess, error).all():
            return top + excess
        excess *= 2
    return math.inf
