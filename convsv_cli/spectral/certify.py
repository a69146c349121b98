r"""Proofs that matrices are bounded, by Cholesky factorizations with rounding accounted for.

`sigma_1(A) < mu` exactly when `mu^2 I - A A*` is positive definite, and a Cholesky factorization that
runs to its end in floating point proves that of a matrix nearby. With u = 2^-53 and
gamma_n = n u / (1 - n u), for A [p, q], three errors are taken off the diagonal first:

* the product: |fl(A A*) - A A*| <= gamma_n |A| |A*| entry by entry, in any order of summation (Higham,
  Accuracy and Stability, 2nd ed., section 3.5), so at most gamma_n trace(A A*) in norm; n = q;
* the factorization: a success proves lambda_min >= -sum_j phi_{j+1} a_jj with phi = gamma / (1 - gamma)
  (Rump, Verification of Positive Definiteness, BIT 2006, theorem 2.3), at most p gamma_2(p+1) mu^2;
* forming the diagonal: 2 u mu^2.

Complex entries count as real sums of four times the length, which covers their products and moduli.
This needs products by the definition: no Strassen, no 3M complex products, no TF32.
"""

from __future__ import annotations

import math

import torch

UNIT_ROUNDOFF = 2.0**-53
DOUBLINGS = 100
TINY = 2.0**-200  # beside matrices scaled to entries of about 1
INVERSE_STEPS = 3  # each multiplies the top direction's share by about 1e10


def gamma(n: int) -> float:
    """Higham's n u / (1 - n u): relative error of n roundings in float64."""
    return n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF)


def real_length(matrices: torch.Tensor, n: int) -> int:
    """Number of real roundings that stand for `n` of `matrices`' arithmetic."""
    return 4 * n if matrices.is_complex() else n


def round_up(x: float) -> float:
    """A float above every real number that a few roundings turn into `x` >= 0."""
    return x * (1 + 16 * UNIT_ROUNDOFF)


def gram(matrices: torch.Tensor) -> torch.Tensor:
    """`A A*` or `A* A`, whichever is smaller: [..., p, q] -> [..., min(p, q), min(p, q)]."""
    p, q = matrices.shape[-2:]
    return matrices @ matrices.mH if p <= q else matrices.mH @ matrices


def rounding_margin(grams: torch.Tensor, inner: int, mu_squared: float) -> torch.Tensor:
    """What rounding can hide of the largest eigenvalue: [..., p, p] -> [...] (the module's text).

    Args:
        grams: computed Gram matrices.
        inner: the length of the sums in them.
        mu_squared: the level at which they are to be factorized.
    """
    p = grams.shape[-1]
    trace = grams.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    product = gamma(real_length(grams, inner + 2)) * (1 + gamma(2 * p)) * trace
    return product + gamma(real_length(grams, 2 * (p + 4))) * p * mu_squared


def proven_below(grams: torch.Tensor, inner: int, mu_squared: float) -> torch.Tensor:
    """Whether `sigma_1^2 < mu_squared` is proven: [..., p, p] -> bool [...]. False proves nothing."""
    shift = mu_squared - rounding_margin(grams, inner, mu_squared)
    if grams.shape[-1] == 1:
        return grams[..., 0, 0].real < shift
    _, info = torch.linalg.cholesky_ex(_shifted(grams, shift))
    return torch.eq(info, 0)


def proven_upper(grams: torch.Tensor, inner: int, top: float) -> float:
    """A level just above `top`, an estimate of the largest eigenvalue, that is proven for all `grams`.

    Gives infinity where no level can be proven.
    """
    excess = max(2 * float(rounding_margin(grams, inner, top).max()), TINY)
    for _ in range(DOUBLINGS):
        if proven_below(grams, inner, top + excess).all():
            return top + excess
        excess *= 2
    return math.inf


def rayleigh_lower(matrix: torch.Tensor, mu_squared: float) -> float:
    """A proven lower end of `sigma_1` for one matrix [p, q], sharp where `mu_squared` is just above.

    Inverse iteration with the factor of `mu_squared I - A* A` finds the top singular vector; the quotient
    `|A v| / |v|` is then taken down by its own rounding.
    """
    a = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mH
    p, q = a.shape
    factor, info = torch.linalg.cholesky_ex(_shifted(a.mH @ a, a.real.new_tensor(mu_squared)))
    v = torch.linspace(1, 2, q, dtype=a.dtype, device=a.device)[:, None]
    for _ in range(INVERSE_STEPS if info == 0 else 0):
        v = torch.cholesky_solve(v, factor)
        v = v / torch.linalg.vector_norm(v)
    quotient = float(torch.linalg.vector_norm(a @ v) / torch.linalg.vector_norm(v))
    lost = gamma(real_length(a, 2 * q + 2)) * float(torch.linalg.vector_norm(a))
    return max(0.0, quotient * (1 - gamma(real_length(a, 2 * (p + q) + 16))) - lost)


def _shifted(grams: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """`shift I - grams`."""
    shifted = grams.neg()
    diagonal = shifted.diagonal(dim1=-2, dim2=-1)
    diagonal += shift[..., None]
    return shifted
