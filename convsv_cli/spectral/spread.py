"""How the singular values of a matrix spread: their squares' sum, the smallest, and how many matter."""

from __future__ import annotations

import math

import torch

from convsv_cli import limits
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma, margin, round_down, round_up, up
from convsv_cli.report import MATRIX_AXES, Interval, Spread
from convsv_cli.spectral.costs import unfolding_cost
from convsv_cli.spectral.eigenpairs import largest_pair
from convsv_cli.spectral.gram import PIECE, Wide, gram
from convsv_cli.spectral.matrix_norm import ZERO, Scale, cholesky_margin, proven_level

WHAT = "the smallest singular value"
COPIES = 6
"""Of a Gram matrix, while its smallest eigenvalue is found and proven."""


def spread_of(weight: torch.Tensor, norm: Interval, *, smallest: bool = True) -> Spread:
    """How the singular values of a finite weight spread; of the zero matrix, all is 0.

    Args:
        weight: [m, n], or of a convolution, of which |W|_F alone does not depend on the input size.
        norm: that of a matrix, as far as it is known.
        smallest: whether the smallest is to be found.

    Raises:
        LimitError: that takes more than the model may.
    """
    frobenius = _frobenius(weight)
    if weight.ndim != MATRIX_AXES:
        return Spread(frobenius=frobenius)
    if not frobenius.upper:
        return Spread(frobenius=ZERO, stable_rank=ZERO, smallest=ZERO)
    side = min(weight.shape)
    if smallest:
        limits.hold(8 * (PIECE * 4 + COPIES * side**2), WHAT)
        limits.multiply(unfolding_cost(1, *weight.shape), WHAT)
    return Spread(
        frobenius=frobenius,
        stable_rank=_stable_rank(frobenius, norm, side),
        smallest=_smallest(weight) if smallest else None,
    )


def _frobenius(weight: torch.Tensor) -> Interval:
    """|W|_F: squares do not cancel, so that no more than numel + 8 roundings in a row are in it."""
    if not weight.any():
        return ZERO
    wide = Wide.of(weight.flatten()[None])
    norm = math.hypot(*(float(torch.linalg.vector_norm(piece)) for piece in wide.pieces()))
    lost = margin(weight.numel() + 8)
    found = Interval(lower=norm * (1 - lost), upper=norm * (1 + lost))
    return Scale(exponent=wide.exponent).restore(found)


def _stable_rank(frobenius: Interval, norm: Interval, side: int) -> Interval:
    """|W|_F^2 / |W|^2: from 1, for the norm is one of the values, up to their number."""
    least = round_down(frobenius.lower / norm.upper) ** 2 if norm.upper else 1.0
    most = round_up(frobenius.upper / norm.lower) ** 2 if norm.lower else math.inf
    return Interval(lower=max(1.0, round_down(least)), upper=min(float(side), round_up(most)))


def _smallest(matrix: torch.Tensor) -> Interval:
    """Of the min(m, n) singular values, the smallest.

    From below: where no eigenvalue of c I - A A^T is above c - s, none of A A^T is below s. Forming that
    costs a rounding of each diagonal entry, at most u c. Cholesky resolves s to about p^2 u |A|^2, so that
    below about 1e-5 of the norm, it is proven from above alone. From above: |A' x| / |x| for any x.
    """
    wide = Wide.of(matrix)
    product = gram(wide)
    top, _, _ = largest_pair(product.matrix)
    height = max(top, float(product.matrix.diagonal().max())) * (1 + 2.0**-20)
    flipped = product.matrix.neg()
    flipped.diagonal().add_(height)
    far, vector, missing = largest_pair(flipped)
    error = round_up(product.error + UNIT_ROUNDOFF * height)
    excess = error + 2 * cholesky_margin(len(flipped), torch.float64) * height + 2 * missing
    level = proven_level(flipped[None], far, error, excess)
    lower = round_down(math.sqrt(max(0.0, height - round_up(level)))) if math.isfinite(level) else 0.0
    image = wide.transposed_times(vector)
    p, q = wide.stored.shape
    length = float(torch.linalg.vector_norm(vector)) * (1 - margin(p + 2))
    seen = float(torch.linalg.vector_norm(image)) * up(q + 2) / length
    upper = round_up(seen + gamma(p + 2) * product.frobenius * 1.01)
    return Scale(exponent=wide.exponent).restore(Interval(lower=min(lower, upper), upper=upper))
