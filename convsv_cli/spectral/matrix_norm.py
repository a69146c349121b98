"""The largest spectral norm of a batch of matrices, enclosed from both sides."""

from __future__ import annotations

import math

import torch

from convsv_cli.numerics.rounding import gamma, real_length, round_up
from convsv_cli.report import Interval
from convsv_cli.spectral.certify import proven_level
from convsv_cli.spectral.cores import CORES, parallel_map
from convsv_cli.spectral.eigen import top_pair
from convsv_cli.spectral.scaling import Scale

LARGE = 10**5  # entries of a matrix that is worth a second core
ZERO = Interval(lower=0.0, upper=0.0)


def matrix_norm(matrices: torch.Tensor) -> Interval:
    """The largest spectral norm of matrices.

    Args:
        matrices: finite float64 [b, p, q].

    Returns:
        An interval whose ends are proven; its relative width is about max(p, q)^2 2^-53.

    Cost: a Gram matrix on the smaller side c, a few Lanczos steps and a few Cholesky factorizations:
    O(b c p q). The largest of many matrices is found by eigenvalues, the others cost a factorization each.
    """
    if not matrices.any():
        return ZERO
    scale = Scale.of(matrices)
    scaled = scale.apply(matrices)
    wide = scaled if scaled.shape[1] <= scaled.shape[2] else scaled.mT
    grams = _grams(wide)
    best = 0 if len(grams) == 1 else int(torch.linalg.eigvalsh(grams)[:, -1].argmax())
    top, vector = top_pair(grams[best])
    # |fl(A A*) - A A*| <= gamma_q |A| |A*| entry by entry (Higham, section 3.5): gamma_q |A|_F^2 in norm.
    frobenius = float(torch.linalg.vector_norm(wide, dim=(1, 2)).max())
    level = proven_level(grams, top, gamma(wide.shape[-1] + 4) * round_up(frobenius) ** 2)
    upper = round_up(math.sqrt(level))
    return scale.restore(Interval(lower=min(rayleigh_lower(wide[best].mT, vector), upper), upper=upper))


def _grams(wide: torch.Tensor) -> torch.Tensor:
    """A A^T of [b, p, q]; rows of the result by pieces, for each core."""
    pieces = torch.split(wide, max(1, -(-wide.shape[1] // CORES)), 1) if wide[0].numel() > LARGE else (wide,)
    return torch.cat(parallel_map(lambda piece: piece @ wide.mT, pieces), 1)


def rayleigh_lower(matrix: torch.Tensor, vector: torch.Tensor) -> float:
    """A proven lower end of the spectral norm of [p, q]: `|A v| / |v|`, less its own rounding.

    Products and moduli of complex numbers count as real sums of four times the length.
    """
    p, q = matrix.shape
    image = torch.linalg.vector_norm(matrix @ vector)
    quotient = float(image) / float(torch.linalg.vector_norm(vector))
    lost = gamma(real_length(matrix.dtype, q + 2)) * float(torch.linalg.vector_norm(matrix))
    return max(0.0, quotient * (1 - gamma(real_length(matrix.dtype, p + q + 16))) - lost)
