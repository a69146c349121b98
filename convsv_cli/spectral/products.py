"""Certified norms of products of two matrices over a small inner dimension, by small factors alone."""

from __future__ import annotations

import math

import torch

from convsv_cli.numerics.rounding import gamma, round_down, round_up
from convsv_cli.report import Interval
from convsv_cli.spectral.gram import Wide, gram
from convsv_cli.spectral.matrix_norm import ZERO, Scale, matrix_norm


def product_norm(left: torch.Tensor, right: torch.Tensor) -> Interval:
    """|A^T B| of finite A [p, m] and B [p, n], with p the small side: no [m, n] is formed.

    With any S for which S S^T = A A^T + E, |A^T B|^2 = lambda_max(B^T A A^T B) is within |E| |B|^2 of
    |S^T B|^2, and S^T B is [p, n]. S is made of computed eigenvectors of A A^T; nothing is taken from their
    accuracy: E is the residual, as computed in float64, and what that may be off. Its own products, and those
    of S^T B, are off by gamma_p |S|_F^2 and gamma_p |S|_F |B|_F (Higham, section 3.5).
    """
    if not left.any() or not right.any():
        return ZERO
    first, second = Wide.of(left), Wide.of(right)
    root, error = _root(left, first)
    scaled = right.to(torch.float64) * math.ldexp(1.0, -second.exponent)
    p = len(left)
    size, length = (round_up(float(torch.linalg.vector_norm(each)) * 1.0001) for each in (root, scaled))
    found = matrix_norm((root.mT @ scaled)[None])
    lost = round_up(gamma(p + 2) * size * length)
    apart = round_up(error * length**2)
    upper = round_up(math.sqrt(round_up(found.upper + lost) ** 2 + apart))
    lower = math.sqrt(max(0.0, round_down(max(0.0, found.lower - lost)) ** 2 - apart))
    exponent = first.exponent + second.exponent
    if abs(exponent) > 1000:
        return Interval(lower=0.0, upper=math.inf)
    return Scale(exponent=exponent).restore(Interval(lower=min(round_down(lower), upper), upper=upper))


def _root(matrix: torch.Tensor, wide: Wide) -> tuple[torch.Tensor, float]:
    """S [p, p] with S S^T nearly A A^T, and a bound of the norm of their difference."""
    p = len(matrix)
    if p > matrix.shape[1]:  # A A^T is that of rows, whichever side is longer
        values = matrix.to(torch.float64) * math.ldexp(1.0, -wide.exponent)
        rows = values @ values.mT
        squares = round_up(float(torch.linalg.vector_norm(values)) * 1.0001) ** 2
        own = gamma(matrix.shape[1] + 4) * squares
    else:
        product = gram(wide)
        rows, own = product.matrix, product.error
    symmetric = (rows + rows.mT) / 2
    values, vectors = torch.linalg.eigh(symmetric)
    root = vectors * values.clamp_min(0).sqrt()
    size = round_up(float(torch.linalg.vector_norm(root)) * 1.0001)
    residual = float(torch.linalg.vector_norm(rows - root @ root.mT)) * 1.0001
    trace = round_up(float(torch.linalg.vector_norm(rows)) * 1.0001)
    return root, round_up(residual + own + gamma(p + 4) * (size**2 + trace))
