r"""The spectral norms of matrices: estimates of the largest eigenvalue, and proofs that nothing is larger.

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
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch

from convsv_cli.numerics.rounding import (
    UNIT_ROUNDOFF,
    UNIT_ROUNDOFF_32,
    gamma,
    margin,
    real_length,
    round_up,
    unit_roundoff,
)
from convsv_cli.report import Interval
from convsv_cli.spectral.cores import CORES, all_threads, parallel_map
from convsv_cli.spectral.eigenpairs import largest_pair
from convsv_cli.spectral.gram import Gram, Wide, coarse_gram, exponent_of, gram, within_range

ZERO = Interval(lower=0.0, upper=0.0)
LARGE = 10**5  # entries of a matrix that is worth a second core
TALL = 1024  # side of a matrix whose factorization is worth them all
BLOCK, MIDDLE, BATCH = 32, 192, 4  # sizes between which blocks beat LAPACK, one matrix after the other
SMALLEST_SIDE, MANY = 4, 256  # of matrices that are factorized entry by entry, all of them at once
SMALLEST = {UNIT_ROUNDOFF: 2.0**-450, UNIT_ROUNDOFF_32: 2.0**-50}
DOUBLINGS = 200
TINY = 2.0**-200  # compared with matrices scaled to entries of about 1


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A power of two that brings tensors to a norm of about 1: exact, and no square over- or underflows."""

    exponent: int

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Scale:
        """The scale of a float64 tensor that is not zero: of its Frobenius norm, without overflow."""
        largest = exponent_of(tensor)
        norm = torch.linalg.vector_norm(tensor * math.ldexp(1.0, -largest))
        return cls(exponent=within_range(largest + math.frexp(float(norm))[1]))

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, scaled."""
        return tensor * math.ldexp(1.0, -self.exponent)

    def restore(self, interval: Interval) -> Interval:
        """The interval at the tensor's own scale, rounded outwards."""
        factor = math.ldexp(1.0, self.exponent)
        lower = min(interval.lower * factor, sys.float_info.max)
        upper = round_up(interval.upper) * factor
        return Interval(lower=max(0.0, math.nextafter(lower, 0)), upper=math.nextafter(upper, math.inf))


def matrix_norm(matrices: torch.Tensor, tolerance: float = 0.0) -> Interval:
    """The largest spectral norm of matrices.

    Args:
        matrices: finite [b, p, q], of any real floating-point type; several are converted to float64.
        tolerance: relative width of an enclosure that is good enough, where a finer one takes much longer.

    Returns:
        An interval whose ends are proven; its relative width is about max(p, q)^2 2^-53, or `tolerance`.

    Cost: a Gram matrix on the smaller side c, of which one half is formed, Lanczos steps and, as a rule, one
    Cholesky factorization: O(b c p q). The largest of many matrices is found by eigenvalues, the others cost
    a factorization each.
    """
    if not matrices.any():
        return ZERO
    if len(matrices) == 1:
        return _norm_of_one(matrices[0], tolerance)
    matrices = matrices.to(torch.float64)  # whose rounding all margins below are about
    scale = Scale.of(matrices)
    scaled = scale.apply(matrices)
    wide = scaled if scaled.shape[1] <= scaled.shape[2] else scaled.mT
    grams = _grams(wide)
    best = int(torch.linalg.eigvalsh(grams)[:, -1].argmax())
    top, vector, _ = largest_pair(grams[best])
    # |fl(A A*) - A A*| <= gamma_q |A| |A*| entry by entry (Higham, section 3.5): gamma_q |A|_F^2 in norm.
    frobenius = float(torch.linalg.vector_norm(wide, dim=(1, 2)).max())
    level = proven_level(grams, top, gamma(wide.shape[-1] + 4) * round_up(frobenius) ** 2)
    upper = round_up(math.sqrt(level))
    return scale.restore(Interval(lower=min(rayleigh_lower(wide[best].mT, vector), upper), upper=upper))


def _norm_of_one(matrix: torch.Tensor, tolerance: float) -> Interval:
    """Of [p, q], not zero."""
    wide = Wide.of(matrix)
    coarse = coarse_gram(wide, tolerance)
    found = None if coarse is None else _proven(wide, coarse)
    if found is None or found.upper > found.lower * (1 + tolerance):
        found = _proven(wide, gram(wide))
    return Scale(exponent=wide.exponent).restore(found)


def _proven(wide: Wide, product: Gram) -> Interval:
    """The norm of A, by that of A A^T as it was computed from above, and by a vector from below."""
    top, vector, missing = largest_pair(product.matrix)
    excess = product.error + 2 * cholesky_margin(len(product.matrix), torch.float64) * top + 2 * missing
    level = proven_level(product.matrix[None], top, product.error, max(excess, TINY))
    upper = round_up(math.sqrt(level))
    lower = product.lower(vector)
    if not product.exact:
        lower = max(lower, _quotient(wide.transposed_times(vector), vector, product.frobenius))
    return Interval(lower=min(lower, upper), upper=upper)


def norm_by_entries(matrices: torch.Tensor) -> Interval:
    """The largest spectral norm of finite [b, p, q], from sums of entries alone: O(b p q), and wide.

    max(|row|, |column|) <= |A| <= min(|A|_F, sqrt(|A|_1 |A|_inf)): a row is e' A, and |A x|^2 <= |A|_1
    |A|_inf |x|^2 (Schur's test). No number here is the result of more than p q + 8 roundings in a row, for no
    entry is negative once its modulus or square is taken.
    """
    if not matrices.any():
        return ZERO
    matrices = matrices.to(torch.float64)
    scale = Scale.of(matrices)
    sizes = scale.apply(matrices).abs()
    frobenius = torch.linalg.vector_norm(sizes, dim=(1, 2))
    schur = (sizes.sum(1).amax(1) * sizes.sum(2).amax(1)).sqrt()
    longest = max(float(torch.linalg.vector_norm(sizes, dim=axis).max()) for axis in (1, 2))
    lost = margin(matrices[0].numel() + 8)
    upper = float(torch.minimum(frobenius, schur).max()) * (1 + lost)
    return scale.restore(Interval(lower=min(longest * (1 - lost), upper), upper=upper))


def _grams(wide: torch.Tensor) -> torch.Tensor:
    """A A^T of [b, p, q]; rows of the result by pieces, for each core."""
    pieces = torch.split(wide, max(1, -(-wide.shape[1] // CORES)), 1) if wide[0].numel() > LARGE else (wide,)
    return torch.cat(parallel_map(lambda piece: piece @ wide.mT, pieces), 1)


def rayleigh_lower(matrix: torch.Tensor, vector: torch.Tensor) -> float:
    """A proven lower end of the spectral norm of [p, q]: `|A v| / |v|`, less its own rounding."""
    plain = matrix.conj() if matrix.is_conj() else matrix  # of parts, norms are found many times faster
    parts = torch.view_as_real(plain) if plain.is_complex() else plain
    frobenius = float(torch.linalg.vector_norm(parts))
    return _quotient(matrix @ vector, vector, frobenius)


def _quotient(image: torch.Tensor, vector: torch.Tensor, frobenius: float) -> float:
    """`|A v| / |v|` of the computed A v [p] and v [q], less the rounding of both.

    Products and moduli of complex numbers count as real sums of four times the length.
    """
    p, q = len(image), len(vector)
    quotient = float(torch.linalg.vector_norm(image)) / float(torch.linalg.vector_norm(vector))
    lost = gamma(real_length(vector.dtype, q + 2)) * frobenius
    return max(0.0, quotient * (1 - gamma(real_length(vector.dtype, p + q + 16))) - lost)


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
    if p <= SMALLEST_SIDE and count >= MANY:
        return _entry_by_entry(matrices)
    if count < BATCH or not BLOCK < p <= MIDDLE:
        with all_threads() if p >= TALL else nullcontext():  # all that counts is that it runs to its end
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


def _entry_by_entry(matrices: torch.Tensor) -> torch.Tensor:
    """The same for small [n, p, p], one entry of all of them at a time.

    A pivot that is not positive has no square root but NaN or zero, and what is divided by it is not used.
    """
    p = matrices.shape[-1]
    factor: dict[tuple[int, int], torch.Tensor] = {}
    fine = torch.ones(len(matrices), dtype=torch.bool, device=matrices.device)
    for j in range(p):
        pivot = matrices[:, j, j].real.clone()
        for k in range(j):
            entry = torch.view_as_real(factor[j, k]) if matrices.is_complex() else factor[j, k][:, None]
            pivot -= entry.square().sum(-1)
        fine &= pivot > 0
        root = pivot.sqrt()
        for i in range(j + 1, p):
            rest = matrices[:, i, j].clone()
            for k in range(j):
                rest -= factor[i, k] * factor[j, k].conj()
            factor[i, j] = rest / root
    return fine


@lru_cache(maxsize=1024)
def cholesky_margin(p: int, dtype: torch.dtype) -> float:
    """What rounding can hide of `lambda_max` [p, p], as a share of the level; infinite where that is all."""
    u, length = unit_roundoff(dtype), 4 if dtype.is_complex else 1
    if gamma(length * (p + 3), u) >= 0.5:
        return math.inf
    gammas = (gamma(length * (j + 3), u) for j in range(1, p + 1))
    return sum(g / (1 - g) for g in gammas) + 8 * u


def proven_level(matrices: torch.Tensor, top: float, error: float = 0.0, excess: float = 0.0) -> float:
    """A level just above `top`, an estimate of the largest eigenvalue, that is proven for all `matrices`.

    `excess` is how far above is tried first; without it, what leaves room for the error and for rounding.
    Gives infinity where no level can be proven.
    """
    excess = excess or max(2 * (error + cholesky_margin(matrices.shape[-1], matrices.dtype) * top), TINY)
    for _ in range(DOUBLINGS):
        if proven_below(matrices.clone(), top + excess, error).all():
            return top + excess
        excess *= 2
    return math.inf
