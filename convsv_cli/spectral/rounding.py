"""What rounding can do: the standard bounds that every certificate takes off.

u is the unit roundoff, gamma_n = n u / (1 - n u) bounds the relative error of n roundings in a row (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
"""

from __future__ import annotations

import math

import torch

UNIT_ROUNDOFF = 2.0**-53
UNIT_ROUNDOFF_32 = 2.0**-24


def unit_roundoff(dtype: torch.dtype) -> float:
    """U of a real or complex type, in single or double precision."""
    return UNIT_ROUNDOFF_32 if dtype in (torch.float32, torch.complex64) else UNIT_ROUNDOFF


def gamma(n: float, u: float = UNIT_ROUNDOFF) -> float:
    """Higham's n u / (1 - n u); infinite where so many roundings leave no digit."""
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def round_up(x: float) -> float:
    """A float above every real number that a few roundings turn into `x` >= 0."""
    return x * (1 + 16 * UNIT_ROUNDOFF)


def round_down(x: float) -> float:
    """A float below every real number that a few roundings turn into `x` >= 0."""
    return x * (1 - 16 * UNIT_ROUNDOFF)


def real_length(dtype: torch.dtype, n: int) -> int:
    """Number of real roundings that stand for `n` of that arithmetic: complex products count fourfold."""
    return 4 * n if dtype.is_complex else n
