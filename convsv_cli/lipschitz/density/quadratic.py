"""What an activation adds to a covariance, B M^-1 B* with M = 2 D - V, before it is multiplied out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from convsv_cli.lipschitz.density.blocks import Errors, Pair, by_pairs, cut, hermitian, pairs
from convsv_cli.lipschitz.density.parts import in_parts
from convsv_cli.lipschitz.density.sizes import InfeasibleError, size
from convsv_cli.lipschitz.density.symbols import Maps, summed
from convsv_cli.lipschitz.density.torus import Frequencies
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma, up
from convsv_cli.spectral.matrix_norm import cholesky_margin

MOST_GROWTH = 1e-7
"""Of the whole covariance, where what an activation adds to it has cancelled and is all rounding errors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Middle:
    """M = S^-1 (D - V) S^-1, Hermitian positive definite at each frequency; S is diagonal, of powers of two.

    Attributes:
        matrix: [frequencies or 1, c, c]; what is searched with. Where something is proven, L.
        inverse: the diagonal of S^-1, [c].
        factor: where something is proven, L of the shape of `matrix`, with L L* <= M; None else.
        least: M - least is positive semidefinite.
    """

    matrix: torch.Tensor
    inverse: torch.Tensor
    factor: torch.Tensor | None = None
    least: float = 0.0

    def at(self, frequencies: Frequencies) -> Middle:
        """At some of the frequencies."""
        factor = None if self.factor is None else frequencies.of(self.factor)
        return replace(self, matrix=frequencies.of(self.matrix), factor=factor)


def middle_of(multiplier: torch.Tensor, variance: torch.Tensor, *, proof: bool) -> Middle:
    """M for a diagonal D and V, with S so that D / S^2 is about 1.

    A Cholesky factorization of M - margin - least that runs to its end proves that M - least >= 0 and that
    M >= L L*, where margin is more than its rounding, and that of the diagonal before.

    Args:
        multiplier: D, float64 [c], positive.
        variance: V, Hermitian [frequencies or 1, c, c].
        proof: whether M > 0 is to be proven: 2^-53 n^(2/3) or so of it is given up for that.

    Raises:
        InfeasibleError: where it is to be proven, M is not positive definite, or not provably.
    """
    scale = torch.exp2((multiplier.detach().log2() / 2).round())
    inverse = (1 / scale).to(variance.real.dtype)
    diagonal = (multiplier / scale**2).to(variance.dtype)
    matrix = torch.diag(diagonal) - variance * (inverse[:, None] * inverse)
    if not proof:
        return Middle(matrix=matrix, inverse=inverse)
    side, largest = variance.shape[-1], 2 * float(diagonal.real.max())
    margin = cholesky_margin(side, matrix.dtype) * largest + 8 * UNIT_ROUNDOFF * largest
    least = max((side * gamma(4 * (side + 8))) ** (2 / 3), margin)
    matrix.diagonal(dim1=-2, dim2=-1).sub_(margin + least)

    def factorized(part: slice) -> bool:
        matrix[part], info = torch.linalg.cholesky_ex(matrix[part])  # there is no room for both
        return not info.any()

    if not all(in_parts(factorized, len(matrix), side**2)):
        raise InfeasibleError
    return Middle(matrix=matrix, inverse=inverse, factor=matrix, least=least * (1 - 4 * UNIT_ROUNDOFF))


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """B M^-1 B* <= growth * (blocks + errors).

    Attributes:
        blocks: the upper triangle of pairs of fields, [frequencies or 1, channels, channels] each.
        errors: of the blocks, where something is proven; empty else.
        growth: at least 1.
    """

    blocks: Mapping[Pair, torch.Tensor]
    errors: Errors
    growth: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Quadratic:
    """B M^-1 B*.

    Attributes:
        rows: the rows of B by field, [frequencies or 1, channels, c].
        errors: bounds of the Frobenius norms of their errors.
        middle: M.
    """

    rows: Mapping[str, torch.Tensor]
    errors: Mapping[str, float]
    middle: Middle

    @property
    def proof(self) -> bool:
        """Whether rounding is accounted for."""
        return self.middle.factor is not None

    def only(self, fields: Sequence[str]) -> Quadratic:
        """The rows of these fields."""
        return replace(self, rows={name: self.rows[name] for name in fields if name in self.rows})

    def at(self, frequencies: Frequencies) -> Quadratic:
        """At some of the frequencies."""
        rows = {name: frequencies.of(rows) for name, rows in self.rows.items()}
        return replace(self, rows=rows, middle=self.middle.at(frequencies))

    def mapped(self, outputs: Maps, kept: Sequence[str]) -> Quadratic:
        """The rows of linear maps of fields, and of those that are kept.

        Raises:
            InfeasibleError: numbers are too large, or too small, for a proof.
        """
        rows = {name: self.rows[name] for name in kept if name in self.rows}
        errors = {name: self.errors[name] for name in rows}
        for output, terms in outputs.items():
            parts = [
                (symbol, self.rows[source], self.errors[source])
                for source, symbol in terms
                if source in self.rows
            ]
            if parts:
                rows[output], errors[output] = summed(parts, proof=self.proof)
        return replace(self, rows=rows, errors=errors)

    def value(self) -> Product:
        """The product, by blocks.

        Raises:
            InfeasibleError: M is not positive definite, or numbers are too large, or too small, for a proof.
        """
        widths = {name: rows.shape[1] for name, rows in self.rows.items()}
        rows, middle = self._stacked(), self.middle
        if middle.factor is None:
            whole = quadratic_form(rows, middle.matrix.to(rows.dtype).expand(len(rows), -1, -1))
            return Product(blocks=by_pairs(whole, widths), errors={})
        factor = middle.factor.to(rows.dtype).expand(len(rows), -1, -1)
        whole = rows.new_empty(len(rows), rows.shape[1], rows.shape[1])
        found = in_parts(
            lambda part: _multiplied(rows[part], factor[part], whole[part], widths),
            len(rows),
            rows.shape[1] * max(rows.shape[1:]),
        )
        solved, rests = ({name: max(each[i][name] for each in found) for name in widths} for i in (0, 1))
        errors, growth = self._rounding(size(factor), solved, rests)
        return Product(blocks=pairs(whole, widths), errors=errors, growth=growth)

    def _stacked(self) -> torch.Tensor:
        """B, [frequencies or 1, all channels, c].

        M is real where V is the same at all frequencies, and B complex once a convolution has mapped it.
        """
        blocks, matrix = self.rows.values(), self.middle.matrix
        count = max(len(matrix), *map(len, blocks))
        lead = next((rows.dtype for rows in blocks if rows.is_complex()), torch.float32)
        kind = torch.promote_types(matrix.dtype, lead)
        return torch.cat([rows.expand(count, -1, -1).to(kind) for rows in blocks], 1)

    def _rounding(
        self, factor: float, lengths: Mapping[str, float], rests: Mapping[str, float]
    ) -> tuple[dict[Pair, float], float]:
        """Errors of the blocks of Z* Z, and the growth, for Z = L^-1 B* and R = B* - L Z as computed.

        By the size of L, and those of the columns of Z and of R that belong to each field.

        As M >= L L* and M >= least, for any tau > 0

            B M^-1 B* = (L Z + R)* M^-1 (L Z + R) <= (1 + tau) Z* Z + (1 + 1 / tau) R* R / least,

        and R* R is below the block-diagonal matrix of n R_i* R_i for n fields. R is what was computed, what
        rounding did to that, and the error of B.
        """
        names, least = list(self.rows), self.middle.least
        products = gamma(4 * (self.middle.matrix.shape[-1] + 8))
        relative = products * factor
        rests = {
            name: (rests[name] * (up(8) + 2 * UNIT_ROUNDOFF) + relative * lengths[name] + self.errors[name])
            * up(16)
            for name in names
        }
        shares = [rests[name] / (math.sqrt(least) * lengths[name]) for name in names if lengths[name]]
        tau = min(max(*shares, UNIT_ROUNDOFF), MOST_GROWTH) if shares else MOST_GROWTH
        errors: dict[Pair, float] = {}
        for i, one in enumerate(names):
            for other in names[i:]:
                errors[one, other] = (products + 2 * UNIT_ROUNDOFF) * lengths[one] * lengths[other] * up(8)
            errors[one, one] += len(names) * (1 + 1 / tau) * rests[one] ** 2 / least * up(16)
        return errors, (1 + tau) * up(4)


def _multiplied(
    rows: torch.Tensor, factor: torch.Tensor, whole: torch.Tensor, widths: Mapping[str, int]
) -> tuple[dict[str, float], dict[str, float]]:
    """Fill in Z* Z for Z = L^-1 B*; the sizes of the columns of Z, and of B* - L Z, of each field.

    Args:
        rows: B, [frequencies, r, c].
        factor: L, [frequencies, c, c].
        whole: what is filled in, made Hermitian, [frequencies, r, r].
        widths: of the fields.
    """
    adjoint = rows.mH.resolve_conj()
    solved = torch.linalg.solve_triangular(factor, adjoint, upper=False)
    whole.copy_(hermitian(solved.mH @ solved))
    rest = adjoint - factor @ solved
    first, second = (
        dict(zip(widths, map(size, cut(each, list(widths.values()), 2)), strict=True))
        for each in (solved, rest)
    )
    return first, second


class _QuadraticForm(torch.autograd.Function):
    """B M^-1 B* with its own adjoint: two products, where that of a factorization would take six."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - torch's type
        factor, info = torch.linalg.cholesky_ex(middle)
        if info.any():
            raise InfeasibleError
        solved: torch.Tensor = torch.linalg.solve_triangular(factor, rows.mH, upper=False)
        ctx.save_for_backward(factor, solved)
        return solved.mH @ solved

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401 - torch's type
        factor, solved = ctx.saved_tensors
        inverse = torch.linalg.solve_triangular(factor.mH, solved, upper=True)
        along = inverse @ hermitian(grad)
        return 2 * along.mH, -(along @ inverse.mH)


def quadratic_form(rows: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
    """B M^-1 B*, differentiable: [n, r, c], Hermitian [n, c, c] -> [n, r, r].

    Raises:
        InfeasibleError: M is not positive definite.
    """
    return _QuadraticForm.apply(rows, middle)  # type: ignore[no-untyped-call, no-any-return]
