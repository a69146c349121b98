"""Norms that bounds of rounding errors are made of, and the range of numbers in which these hold."""

from __future__ import annotations

import torch

from convsv_cli.numerics.rounding import up

LEAST, MOST = 2.0**-400, 2.0**400
"""What is not zero has a norm between these: what underflows in products of two is below the rounding."""


class InfeasibleError(Exception):
    """2 D - V is not positive definite at some frequency, or numbers are too large or small for a proof."""


def size(block: torch.Tensor) -> float:
    """At least the largest Frobenius norm at any frequency: [frequencies, ...].

    Raises:
        InfeasibleError: it is neither 0 nor from `LEAST` to `MOST`.
    """
    parts = block.detach()
    if parts.is_complex():  # as real numbers, which torch adds up much faster
        parts = torch.view_as_real(parts.conj() if parts.is_conj() else parts)
    axes = tuple(range(1, parts.ndim))
    norm = float(torch.linalg.vector_norm(parts, dim=axes).max()) * up(4 * block[0].numel() + 8)
    if norm == 0 and not bool(block.any()):  # else its square has underflowed
        return 0.0
    if not LEAST <= norm <= MOST:
        raise InfeasibleError
    return norm


def checked(norm: float) -> float:
    """The norm itself.

    Raises:
        InfeasibleError: it is neither 0 nor from `LEAST` to `MOST`.
    """
    if norm and not LEAST <= norm <= MOST:
        raise InfeasibleError
    return norm
