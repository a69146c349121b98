r"""Proofs that the Gram symbol of one kernel lies below a level, by Cholesky factorizations in panels.

mu I - H is formed at several frequencies at once, of each the panels of `WIDTH` columns from the diagonal
down, and factorized there, panel by panel. With c = tr A_0 / p, the polynomial is of H - c I, which may be
much smaller than H: an orthogonal convolution has H = I, and nothing is left to round.

**Rounding.** Let P be the computed polynomial, |P - (H - c I)| <= E, and S = fl(s I - P) with a number s of
the precision, whose unit roundoff is u. Entry (i, j) of S is, but for panels of their own,

    s_ij = sum over panels of (products of `WIDTH` entries of L, summed in some order), subtracted in turn.

The subtractions are d_k = (d_{k-1} - q_k) (1 + e_k) with |e_k| <= u, of complex numbers too, whose parts are
rounded each by itself. Divided by all (1 + e_k), they say s_ij = d_n (1 + t_n) + sum_k q_k (1 + t_{k-1}) with
|t_k| <= gamma_k for n panels: what is subtracted first is rounded no more often than what is last. Within a
panel, w = `WIDTH` columns in any order have gamma_{4 (w + 3)} (see `matrix_norm`), which covers the q_k too.
So S + D = L L* with |D| <= gamma_{n + 4 (w + 3)} |L| |L*| entry by entry, where a factorization that is not
by panels has gamma_{4 (p + 3)}. As (|L| |L*|)_ij <= sqrt(l_i l_j) for the squared norms l of L's rows, and
l_j <= s_jj / (1 - gamma), the norm of D is at most gamma / (1 - gamma) tr S (Rump's argument, see there).

In double precision, where a margin is nothing, products are subtracted as they are summed, which is faster:
gamma_{4 (p + 3)} is for any order of all.

What runs to its end therefore proves lambda_1(H) <= c + s + E + (gamma / (1 - gamma) + u) tr S, where u tr S
is for the rounding of s_jj, all of which are positive then. And tr S = p s - tr P up to that same rounding,
so that s is what makes the right-hand side mu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, UNIT_ROUNDOFF_32, gamma, unit_roundoff
from convsv_cli.spectral.cores import parallel_map
from convsv_cli.spectral.costs import chunk_size
from convsv_cli.spectral.gram_symbol import TINY, GramSymbol
from convsv_cli.spectral.matrix_norm import SMALLEST, cholesky_margin, proven_below

WIDTH = 32
MANY = 128  # proofs
SPARE = 1e-6  # relative: more than what is rounded in a margin itself
DIGITS = 64 * UNIT_ROUNDOFF  # relative: more than what is rounded in a level, in double precision


@dataclass(frozen=True, kw_only=True, eq=False)
class LowerHalf:
    """The lower half of H - c I as a trigonometric polynomial, in one precision.

    Attributes:
        gram: of one kernel.
        even, odd: of each panel, from the diagonal down: real [even rows, height * width], [odd rows, ...].
        centre: c.
        size: more than |c| and the entries on the diagonal of A_0.
        error: bound of the spectral norm of what rounding does to one H - c I.
    """

    gram: GramSymbol
    even: tuple[torch.Tensor, ...]
    odd: tuple[torch.Tensor, ...]
    centre: float
    size: float
    error: float

    @property
    def negative(self) -> LowerHalf:
        """The same of -H."""
        even, odd = (tuple(-panel for panel in panels) for panels in (self.even, self.odd))
        return replace(self, even=even, odd=odd, centre=-self.centre)

    def margin(self, level: float) -> float:
        """About what rounding can hide of the largest eigenvalue, for a level just above it."""
        return self.error + self._lost * self.gram.side * max(0.0, level - self.centre)

    def below(self, turns: torch.Tensor, level: float) -> torch.Tensor:
        """Whether lambda_1(H) < level is proven at theta = 2 pi turns: [n, axes] -> bool [n]."""
        panels, p = self._polynomial(turns), self.gram.side
        trace = torch.stack([_diagonal(panel).real.double().sum(1) for panel in panels]).sum(0)
        shift = (level - self.centre - self.error + self._lost * trace) / (1 + self._lost * p)
        shift -= DIGITS * (abs(level) + self.size + trace.abs()) + 2 * self._unit * shift.abs()
        for panel in panels:
            _diagonal(panel.neg_()).add_(shift[:, None])
        return _positive_definite(panels, fused=self._fused) & (shift > SMALLEST[self._unit])

    def _polynomial(self, turns: torch.Tensor) -> list[torch.Tensor]:
        """The panels of H - c I: complex [n, height, width]."""
        even, odd = self.gram.phases(turns).to(self.even[0].dtype).tensor_split([self.gram.even], 1)
        heights = range(self.gram.side, 0, -WIDTH)
        return [
            torch.complex(even @ real, odd @ imaginary).view(len(turns), height, min(WIDTH, height))
            for real, imaginary, height in zip(self.even, self.odd, heights, strict=True)
        ]

    @property
    def _fused(self) -> bool:
        """Whether products and their subtraction are one operation, in any order."""
        return self._unit == UNIT_ROUNDOFF

    @property
    def _unit(self) -> float:
        return unit_roundoff(self.even[0].dtype)

    @property
    def _lost(self) -> float:
        """The factor gamma / (1 - gamma) + u of the module's text."""
        terms = self.gram.side if self._fused else WIDTH
        length = gamma(len(self.even) + 4 * (terms + 3), self._unit)
        return (1 + SPARE) * (length / (1 - length) + self._unit)


def lower_half(gram: GramSymbol, dtype: torch.dtype) -> LowerHalf:
    """Of one kernel, in the real precision `dtype`."""
    rows = gram.double[0]
    diagonal = rows[0].diagonal()
    centre, size = float(diagonal.mean()), 1.01 * float(diagonal.abs().max()) + TINY
    even, odd, error = [], [], gram.error
    for start in range(0, gram.side, WIDTH):
        panel = rows[:, start:, start : start + WIDTH].to(dtype, copy=True)
        panel[0].diagonal().copy_(diagonal[start : start + WIDTH] - centre)
        real, imaginary = panel.flatten(1).tensor_split([gram.even])
        even.append(real)
        odd.append(imaginary)
    if dtype == torch.float32:
        norms = torch.linalg.vector_norm(rows.flatten(1), dim=1)
        norms[0] = torch.linalg.vector_norm(rows[0] - centre * torch.eye(gram.side).to(rows))
        cosines, sines = norms[1:].chunk(2)
        total = float(norms[0] + torch.hypot(cosines, sines).sum())
        error += 1.001 * gamma(gram.rows + 9, UNIT_ROUNDOFF_32) * total + TINY
    return LowerHalf(gram=gram, even=tuple(even), odd=tuple(odd), centre=centre, size=size, error=error)


class Factorizations:
    """Proofs by factorizations at frequencies, piece by piece, on all cores.

    Attributes:
        many: whether so many are to come that a `LowerHalf` pays, which takes the rows in double precision.
    """

    def __init__(self, gram: GramSymbol) -> None:
        self._gram = gram
        self._halves: dict[torch.dtype, LowerHalf] = {}
        self._count = 0
        self.many = False

    @property
    def in_panels(self) -> bool:
        """Whether they are those of a `LowerHalf`: of one matrix that is not small."""
        many = self.many or self._count >= MANY
        return many and self._gram.blocks == 1 and self._gram.side > WIDTH

    def margin(self, level: float) -> float:
        """What rounding can hide of an eigenvalue in single precision."""
        if self.in_panels:
            return self._half(torch.complex64).margin(level)
        return cholesky_margin(self._gram.side, torch.complex64) * level + self._gram.error_single

    def below(
        self, block: torch.Tensor, turns: torch.Tensor, level: float, dtype: torch.dtype
    ) -> torch.Tensor:
        """Whether lambda_1 < level is proven, in that precision: [n], [n, axes] -> bool [n]."""
        if self.in_panels:
            return self._below_in(self._half(dtype), block, turns, level)
        gram = self._gram

        def prove(block: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
            return proven_below(gram.at(block, turns, dtype), level, gram.error_of(dtype))

        return self._pieces(prove, block, turns, dtype)

    def above(self, block: torch.Tensor, turns: torch.Tensor, depth: float, beta: float) -> torch.Tensor:
        """Whether lambda_p > beta - depth is proven where lambda_1 <= beta: [n], [n, axes] -> bool [n]."""
        if self.in_panels:
            proven = torch.zeros_like(block, dtype=torch.bool)
            for dtype in (torch.complex64, torch.complex128):
                left = (~proven).nonzero()[:, 0]
                half = self._half(dtype).negative
                proven[left] = self._below_in(half, block[left], turns[left], depth - beta)
            return proven
        gram, rounding = self._gram, 4 * UNIT_ROUNDOFF * beta

        def prove(block: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
            flipped = gram.at(block, turns, torch.complex128).neg_()
            flipped.diagonal(dim1=-2, dim2=-1).add_(beta)
            return proven_below(flipped, depth, gram.error + rounding)

        return self._pieces(prove, block, turns, torch.complex128)

    def _half(self, dtype: torch.dtype) -> LowerHalf:
        if dtype not in self._halves:
            self._halves[dtype] = lower_half(self._gram, dtype.to_real())
        return self._halves[dtype]

    def _below_in(
        self, half: LowerHalf, block: torch.Tensor, turns: torch.Tensor, level: float
    ) -> torch.Tensor:
        dtype = half.even[0].dtype.to_complex()
        return self._pieces(lambda _block, turns: half.below(turns, level), block, turns, dtype)

    def _pieces(
        self,
        prove: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        block: torch.Tensor,
        turns: torch.Tensor,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        self._count += len(block)
        self._gram.prepare(len(block), dtype)
        size = chunk_size(len(block), self._gram.shape, dtype.itemsize)
        pieces = list(zip(torch.split(block, size), torch.split(turns, size), strict=True))
        found = parallel_map(lambda piece: prove(*piece), pieces)
        return torch.cat([block.new_zeros(0, dtype=torch.bool), *found])


def _diagonal(panel: torch.Tensor) -> torch.Tensor:
    """Of the matrices that [n, height, width] are panels of: [n, width]."""
    return panel.diagonal(dim1=-2, dim2=-1)


def _positive_definite(panels: list[torch.Tensor], *, fused: bool) -> torch.Tensor:
    """Whether Cholesky factorizations, which overwrite the lower halves, run to their end: bool [n]."""
    failed = torch.zeros(len(panels[0]), dtype=torch.int32, device=panels[0].device)
    for index, panel in enumerate(panels):
        width = panel.shape[2]
        factor, info = torch.linalg.cholesky_ex(panel[:, :width])
        failed |= info
        rows = panel[:, width:]
        if rows.shape[1]:
            rows = torch.linalg.solve_triangular(factor.mH, rows, upper=True, left=False)
        for other in panels[index + 1 :]:
            width = other.shape[2]
            if fused:
                other.baddbmm_(rows, rows[:, :width].mH, alpha=-1)
            else:
                other.sub_(rows @ rows[:, :width].mH)
            rows = rows[:, width:]
    return torch.eq(failed, 0)
