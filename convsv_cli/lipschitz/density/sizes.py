"""Norms that bounds of rounding errors are made of, and the range of numbers in which these hold."""

from __future__ import annotations

import math

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
    parts = _as_real(block.detach())
    axes = tuple(range(1, parts.ndim))
    norm = float(torch.linalg.vector_norm(parts, dim=axes).max()) * up(4 * block[0].numel() + 8)
    if norm == 0 and not bool(block.any()):  # else its square has underflowed
        return 0.0
    if not LEAST <= norm <= MOST:
        raise InfeasibleError
    return norm


def finite(block: torch.Tensor) -> bool:
    """Whether all entries are finite numbers."""
    return all(map(math.isfinite, torch.stack(_as_real(block.detach()).aminmax()).tolist()))  # NaN is both


def _as_real(block: torch.Tensor) -> torch.Tensor:
    """Real and imaginary parts, but for signs: numbers with which torch is much faster."""
    if not block.is_complex():
        return block
    return torch.view_as_real(block.conj() if block.is_conj() else block)


def checked(norm: float) -> float:
    """The norm itself.

    Raises:
        InfeasibleError: it is neither 0 nor from `LEAST` to `MOST`.
    """
    if norm and not LEAST <= norm <= MOST:
        raise InfeasibleError
    return norm
