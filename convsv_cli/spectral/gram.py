"""Gram matrices of matrices of any size, which are converted piece by piece, and what rounding did to them.

A matrix stays in the type that its file has. Of a large one on a CPU, products are first formed in float32,
twice as fast, where its spectrum is so concentrated that the margin for it is small beside the norm: the
margin grows with the stable rank, |A|_F^2 / |A|^2. The others take float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from convsv_cli.numerics.rounding import gamma, gamma_of_blocks, round_down, round_up, up
from convsv_cli.spectral.cores import parallel_map

PIECE, FEWEST = 2**20, 512  # entries that are converted at a time, and columns even if these have more
TILE, LENGTH = 256, 128  # of the products: the side of what they give, and of float32 how many are summed
WORTH = 1e10  # multiplications of a Gram matrix from which on float32 is tried
TRIED_STEPS = 3  # of the power method, on the first piece
LARGEST_EXPONENT = 1000  # of a power of two whose inverse is a normal float64 too
NEAR_ONE = range(-15, 4)  # exponents of the largest entry of matrices that need no scale
NORMAL = 126  # exponents of two of normal numbers in float32, and of their inverses
FLUSHED = 2.0**-120  # more than underflow in float32 does to both factors, their product and its sum
EXACT_PRODUCTS = {torch.bfloat16: True, torch.float16: True, torch.float32: False}
"""Types that float32 holds, and whether also their products, of twice their 8, 11 or 24 bits."""


def exponent_of(tensor: torch.Tensor) -> int:
    """Of the power of two above the largest entry of a tensor that is not zero, `within_range`."""
    least, most = tensor.aminmax()
    return within_range(math.frexp(max(-float(least), float(most)))[1])


def within_range(exponent: int) -> int:
    """The exponent, or the next one of a power of two that has a normal inverse."""
    return min(max(exponent, -LARGEST_EXPONENT), LARGEST_EXPONENT)


@dataclass(frozen=True, kw_only=True, eq=False)
class Wide:
    """A real matrix, scaled by a power of two to entries of about 1, which no product overflows.

    Attributes:
        stored: [p, q], p <= q, finite, not all zero, in any real floating-point type of torch.
        exponent: it stands for `stored` times 2 to the minus this.
    """

    stored: torch.Tensor
    exponent: int

    @classmethod
    def of(cls, matrix: torch.Tensor) -> Wide:
        """That of [p, q], finite and not all zero, or of its transpose; scaled only if it has to be."""
        exponent = exponent_of(matrix)
        stored = matrix if len(matrix) <= matrix.shape[1] else matrix.mT
        return cls(stored=stored, exponent=0 if exponent in NEAR_ONE else exponent)

    @property
    def multiplications(self) -> float:
        """Of its Gram matrix, where nothing is said twice."""
        p, q = self.stored.shape
        return p * (p + 1) / 2 * q

    def pieces(self, dtype: torch.dtype = torch.float64) -> Iterator[torch.Tensor]:
        """Its columns in that type, [p, k] a piece; k is a multiple of `LENGTH` but in the last one."""
        p, q = self.stored.shape
        width = max(FEWEST, PIECE // (p * LENGTH) * LENGTH)
        for start in range(0, q, width):
            piece = self.stored[:, start : start + width].to(dtype)
            yield piece * math.ldexp(1.0, -self.exponent) if self.exponent else piece

    def transposed_times(self, vector: torch.Tensor) -> torch.Tensor:
        """A^T v: float64 [p] -> [q]."""
        return torch.cat([piece.mT @ vector for piece in self.pieces()])


@dataclass(frozen=True, kw_only=True, eq=False)
class Gram:
    """A A^T as it was computed.

    Attributes:
        matrix: float64 [p, p], of which the lower triangle is within `error` of A A^T, as a symmetric matrix.
        error: a bound of the spectral norm.
        frobenius: a bound of |A|_F.
        exact: whether products are in float64.
    """

    matrix: torch.Tensor
    error: float
    frobenius: float
    exact: bool

    def lower(self, vector: torch.Tensor) -> float:
        """A proven lower end of |A| from x, float64 [p]: the root of x' M x / |x|^2, less what is lost.

        M is off by the error. Its products with x, and theirs, are at most 2 p + 2 roundings in a row, which
        gamma of them times |x|' |M| |x| bounds; and |M|, entry by entry within 1 + `lost` of |A| |A|^T, has a
        norm of at most |A|_F^2 and the error.
        """
        p = len(vector)
        length = float(torch.linalg.vector_norm(vector)) * up(p + 2)
        quotient = round_down(float(vector @ (self.matrix @ vector)) / length**2)
        lost = self.error + gamma(2 * p + 2) * (self.frobenius**2 + self.error)
        return round_down(math.sqrt(max(0.0, quotient - round_up(lost))))


def gram(wide: Wide) -> Gram:
    """In float64: off by gamma_q |A| |A|^T, entry by entry (Higham, section 3.5), gamma_q |A|_F^2 in norm.

    |A|_F^2 is the trace, of which every term and their sum are within gamma_(p+q) of the computed ones.
    """
    p, q = wide.stored.shape
    matrix = _summed(wide, lambda left, right, sums: sums.addmm_(left, right.mT), torch.float64)
    return _gram(matrix, gamma(q + 4), p + q)


def coarse_gram(wide: Wide, tolerance: float) -> Gram | None:
    """Of a large matrix by products in float32, where that seems good enough.

    `tolerance` is what the error may be of the largest eigenvalue. Whether it is can only be said afterwards.
    """
    p, q = wide.stored.shape
    if not _float32_may_do(wide):
        return None
    lost = gamma_of_blocks(q, LENGTH, exact=EXACT_PRODUCTS[wide.stored.dtype])
    first = next(wide.pieces(torch.float32))
    if lost > tolerance * _share(first) or not _multiplies_float32(first):
        return None
    matrix = _summed(wide, _add_products, torch.float32)
    return _gram(matrix, lost, p + q, p * q * FLUSHED)


def _float32_may_do(wide: Wide) -> bool:
    """Whether it saves time, and holds every entry but those that underflow."""
    there = wide.stored.device.type == "cpu" and wide.stored.dtype in EXACT_PRODUCTS
    return there and wide.multiplications >= WORTH and abs(wide.exponent) <= NORMAL


def _share(piece: torch.Tensor) -> float:
    """About which share of |A|_F^2 is |A|^2 of a piece: the inverse of its stable rank."""
    vector = piece.sum(1)
    for _ in range(TRIED_STEPS):
        vector = torch.nn.functional.normalize(vector, dim=0)
        vector = piece @ (piece.mT @ vector)
    squares = float(torch.linalg.vector_norm(piece)) ** 2
    return float(torch.linalg.vector_norm(vector)) / squares if squares else 0.0


def _multiplies_float32(piece: torch.Tensor) -> bool:
    """Whether products are in float32 as they should: settings of torch and of its libraries may forbid it.

    They would take factors of fewer bits then, in which 1 + 2^-12 is 1.
    """
    probe = torch.eye(TILE, LENGTH, dtype=piece.dtype, device=piece.device) * (1 + 2.0**-12)
    return float((probe @ probe.mT)[0, 0]) == 1 + 2.0**-11  # and 2^-24, which is rounded to even


def _summed(
    wide: Wide, add: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], object], dtype: torch.dtype
) -> torch.Tensor:
    """A A^T, float64 [p, p], by the rows of tiles on and below the diagonal, which `add` adds to for a piece.

    What is above the diagonal tiles is copied from below.
    """
    stored = wide.stored
    p = len(stored)
    matrix = torch.zeros(p, p, dtype=torch.float64, device=stored.device)
    side = TILE if stored.device.type == "cpu" else p
    rows = [(start, min(start + side, p)) for start in reversed(range(0, p, side))]
    for piece in wide.pieces(dtype):
        parallel_map(partial(_add_rows, piece, matrix, add), rows)
    for start, stop in rows:
        matrix[:start, start:stop] = matrix[start:stop, :start].mT
    return matrix


def _add_rows(
    piece: torch.Tensor,
    matrix: torch.Tensor,
    add: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], object],
    rows: tuple[int, int],
) -> None:
    start, stop = rows
    add(piece[start:stop], piece[:stop], matrix[start:stop, :stop])


def _add_products(left: torch.Tensor, right: torch.Tensor, sums: torch.Tensor) -> None:
    """Add to `sums`, float64 [m, n], the product of [m, k] and the transpose of [n, k]: a few in float32."""
    for start in range(0, len(right), TILE):
        tile = sums[:, start : start + TILE]
        products = left.new_empty(tile.shape)
        for begin in range(0, left.shape[1], LENGTH):
            block = slice(begin, begin + LENGTH)
            tile += torch.mm(left[:, block], right[start : start + TILE, block].mT, out=products)


def _gram(matrix: torch.Tensor, lost: float, roundings: int, more: float = 0.0) -> Gram:
    """With entries that are off by `lost` |A| |A|^T, and, of float32, in norm by `more`."""
    trace = float(matrix.diagonal().sum()) + more
    squares = trace * up(roundings) / (1 - lost)
    return Gram(
        matrix=matrix,
        error=round_up(lost * squares + more),
        frobenius=round_up(math.sqrt(squares)),
        exact=not more,
    )
