"""What rounding can do: the standard bounds that every certificate takes off, and arithmetic that rounds up.

u is the unit roundoff, gamma_n = n u / (1 - n u) bounds the relative error of n roundings in a row (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

UNIT_ROUNDOFF = 2.0**-53
UNIT_ROUNDOFF_32 = 2.0**-24


def unit_roundoff(dtype: torch.dtype) -> float:
    """U of a real or complex type, in single or double precision."""
    import torch

    return UNIT_ROUNDOFF_32 if dtype in (torch.float32, torch.complex64) else UNIT_ROUNDOFF


def gamma(n: float, u: float = UNIT_ROUNDOFF) -> float:
    """Higham's n u / (1 - n u); infinite where n roundings leave no digit."""
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def gamma_of_blocks(count: int, length: int, *, exact: bool) -> float:
    """A bound of the relative error of a sum of `count` products of float32 numbers, by blocks.

    Blocks of up to `length` products are summed in float32, and their sums in float64, all in any order. The
    error is relative to the sum of the products' moduli, s; nothing underflows.

    Let x be the products, and k of them be in a block. Its sum has k - 1 additions, for the first adds to
    nothing, and each x has a rounding of its own unless `exact` says that float32 holds it, as it does those
    of two float16 or bfloat16 numbers, or unless it is fused with the addition. So a block is off by gamma_k
    of the sum of its |x|, or gamma_(k-1), with the u of float32 (Higham, section 3.1); no sum of m numbers
    has fewer digits than that says, whatever cancels in it. Float64 holds the blocks' sums, whose moduli sum
    to at most (1 + gamma_k) s, and adding these c = ceil(count / length) numbers to nothing is off by at most
    gamma_c of that. Both together are gamma_k + gamma_c (1 + gamma_k), to whose evaluation `up` adds.

    Args:
        count: of all products.
        length: of a block, at most.
        exact: whether float32 holds every product.
    """
    longest = min(count, length)
    block = gamma(longest - 1 if exact else longest, UNIT_ROUNDOFF_32)
    return (block + gamma(-(-count // length)) * (1 + block)) * up(15)


def margin(roundings: int) -> float:
    """A relative error that is larger than what that many roundings in a row do to a number.

    It is 2 x for x = (n + 1) u <= 1/4. Let c be the computed value of t >= 0. That and the rounding of a
    product with c are n + 1 roundings in a row, with a relative error of at most gamma_(n+1) = x / (1 - x).
    So c times 1 + 2 x is at least (1 + 2 x)(1 - gamma_(n+1)) t = (1 + 2 x)(1 - 2 x) / (1 - x) t, which is at
    least t, as 4 x^2 <= x; c times 1 - 2 x is at most (1 - 2 x)(1 + gamma_(n+1)) t = (1 - 2 x) / (1 - x) t.
    """
    return 2 * (roundings + 1) * UNIT_ROUNDOFF


def up(roundings: int) -> float:
    """The factor that lifts a computed number >= 0 above the one in real arithmetic (see `margin`)."""
    return 1 + margin(roundings)


UP = up(3)
"""For a formula of up to three roundings."""
UP_MANY = up(4095)
"""For a formula of up to 4095 roundings, or of library functions that are right to some last places."""


def round_up(x: float) -> float:
    """A float above every real number that up to seven roundings turn into `x` >= 0."""
    return x * up(7)


def round_down(x: float) -> float:
    """A float below every real number that up to seven roundings turn into `x` >= 0."""
    return x * (1 - margin(7))


def real_length(dtype: torch.dtype, n: int) -> int:
    """Number of real roundings that stand for `n` of that arithmetic: complex products count fourfold."""
    return 4 * n if dtype.is_complex else n


def times(*factors: float) -> float:
    """The product, rounded up. A factor of 0 makes it 0: what does not vary is not amplified."""
    if 0.0 in factors:
        return 0.0
    others = [factor for factor in factors if factor != 1]
    product = math.prod(others) * UP ** max(0, len(others) - 1)
    return max(product, sys.float_info.min)  # what underflows is not nothing


def total(terms: Iterable[float]) -> float:
    """The sum, rounded up."""
    others = [term for term in terms if term]
    return math.fsum(others) * UP if len(others) > 1 else sum(others)


def root_of_squares(terms: Iterable[float]) -> float:
    """The Euclidean norm, rounded up."""
    others = [term for term in terms if term]
    return math.hypot(*others) * UP if len(others) > 1 else sum(others)


def root(x: float) -> float:
    """The square root, rounded up; exact for square numbers up to 2^52, whose roots have exact squares."""
    value = math.sqrt(x)
    return value if value <= 2**26 and value.is_integer() and value * value == x else value * UP
