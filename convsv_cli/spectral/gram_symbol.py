r"""The Gram symbol of a convolution, H = G G* or G* G on the smaller side, as a trigonometric polynomial.

With the taps `K_t`, H(theta) = sum_lag A_lag exp(-i <lag, theta>), A_lag = sum_t K_t K_{t - lag}^T, and
A_{-lag} = A_lag^T. The A are computed once; after that H at any frequencies is one real matrix product,
O(rows p^2) a frequency for p = min(c_out, c_in), where a Gram matrix by its definition costs O(p^2 q).

Rounding, u = 2^-53 and |.| entry by entry:

* A: sums of q products and then of at most as many as there are taps, so |dH| <= gamma_{q + taps} (sum_t
  |K_t|) (sum_t |K_t|)^T, whose norm is at most |sum_t |K_t||_F^2;
* H: sums of `rows` products of a phase and a coefficient, each phase off by a few u for every turn that
  enters it: at most (gamma_rows + phase) sum_rows |row|_F;
* in complex64, coefficients and phases are rounded and sums are formed with u = 2^-24.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from convsv_cli.spectral.rounding import UNIT_ROUNDOFF, UNIT_ROUNDOFF_32, gamma

TINY = 2.0**-120  # more than what underflow in single precision can hide of matrices of norm about 1


@dataclass(frozen=True, kw_only=True, eq=False)
class GramSymbol:
    """Gram symbols of a batch of kernels.

    Attributes:
        double: complex128 [blocks, rows, p, p]; H = sum_rows phase * row, with the real phases 1, then
            cos <lag, theta>, then sin <lag, theta> for each lag.
        single: the same in complex64.
        lags: float64 [lags, axes], one of each pair of opposite lags, without zero.
        row_norms: float64 [blocks, rows], their Frobenius norms.
        error, error_single: bounds of the spectral norm of what rounding does to one H.
    """

    double: torch.Tensor
    single: torch.Tensor
    lags: torch.Tensor
    row_norms: torch.Tensor
    error: float
    error_single: float

    @property
    def side(self) -> int:
        """p, the smaller number of channels."""
        return self.double.shape[-1]

    @property
    def blocks(self) -> int:
        """Number of kernels."""
        return self.double.shape[0]

    @property
    def rows(self) -> int:
        """Number of terms of the polynomial."""
        return self.double.shape[1]

    @property
    def device(self) -> torch.device:
        """Where it is kept."""
        return self.double.device

    def error_of(self, dtype: torch.dtype) -> float:
        """The error in that precision."""
        return self.error_single if dtype == torch.complex64 else self.error

    def phases(self, turns: torch.Tensor) -> torch.Tensor:
        """The rows' phases at theta = 2 pi turns: [n, axes] -> float64 [n, rows]."""
        angle = (2 * math.pi) * (turns @ self.lags.T).frac()
        return torch.cat([turns.new_ones(len(turns), 1), angle.cos(), angle.sin()], 1)

    def at(self, block: torch.Tensor, turns: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """H at theta = 2 pi turns: block [n], turns [n, axes] -> [n, p, p] of that complex type."""
        rows = self.single if dtype == torch.complex64 else self.double
        real = torch.view_as_real(rows).flatten(2)
        phases = self.phases(turns).to(real.dtype)
        values = phases @ real[0] if self.blocks == 1 else torch.bmm(phases[:, None], real[block])
        return torch.view_as_complex(values.view(len(turns), self.side, self.side, 2))

    def forms(self, block: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """The quadratic forms v* row v, so that v* H v = phases . forms: [n, p] -> float64 [n, rows]."""
        rows = self.single if vectors.dtype == torch.complex64 else self.double
        if self.blocks == 1:
            images = (rows[0].reshape(-1, self.side) @ vectors.T).view(-1, self.side, len(vectors))
            return torch.einsum("np,rpn->nr", vectors.conj(), images).real.double()
        return torch.einsum("np,nrpq,nq->nr", vectors.conj(), rows[block], vectors).real.double()


def gram_symbol(weight: torch.Tensor) -> GramSymbol:
    """The Gram symbols of kernels float64 [blocks, c_out, c_in, *k] whose norm is about 1.

    Cost: O(taps^2 p^2 q) once, and 16 (2 lags + 1) p^2 bytes a block, half as many again for `single`.
    """
    oriented = weight if weight.shape[1] <= weight.shape[2] else weight.transpose(1, 2)
    k = tuple(weight.shape[3:])
    taps = oriented.permute(0, *range(3, weight.ndim), 1, 2).contiguous()  # [blocks, *k, p, q]
    lags = [lag for lag in itertools.product(*(range(1 - n, n) for n in k)) if lag > (0,) * len(k)]
    p, count = taps.shape[-2], len(lags)
    rows = taps.new_zeros((len(taps), 1 + 2 * count, p, p, 2))
    rows[:, 0, ..., 0] = _correlation(taps, (0,) * len(k))
    for i, lag in enumerate(lags, start=1):
        a = _correlation(taps, lag)
        torch.add(a, a.mT, out=rows[:, i, ..., 0])
        torch.sub(a.mT, a, out=rows[:, i + count, ..., 1])
    norms = torch.linalg.vector_norm(rows.flatten(2), dim=2)
    error, error_single = _errors(taps, norms, len(k))
    return GramSymbol(
        double=torch.view_as_complex(rows),
        single=torch.view_as_complex(rows.float()),
        lags=torch.tensor(lags, dtype=weight.dtype, device=weight.device).reshape(-1, len(k)),
        row_norms=norms,
        error=error,
        error_single=error_single,
    )


def _correlation(taps: torch.Tensor, lag: tuple[int, ...]) -> torch.Tensor:
    """A_lag: [blocks, *k, p, q] -> [blocks, p, p]."""
    sizes = taps.shape[1 : 1 + len(lag)]
    here = tuple(slice(max(0, j), n + min(0, j)) for j, n in zip(lag, sizes, strict=True))
    there = tuple(slice(max(0, -j), n - max(0, j)) for j, n in zip(lag, sizes, strict=True))
    everything = (slice(None),)
    products = taps[everything + here] @ taps[everything + there].mT
    return products.flatten(1, -3).sum(1) if lag else products


def _errors(taps: torch.Tensor, norms: torch.Tensor, axes: int) -> tuple[float, float]:
    """The bounds of the module's text, the largest over the blocks."""
    q, count = taps.shape[-1], math.prod(taps.shape[1 : 1 + axes])
    absolute = taps.abs().flatten(1, axes).sum(1) if axes else taps.abs()
    correlation = gamma(q + count + 4) * float(torch.linalg.vector_norm(absolute, dim=(1, 2)).max()) ** 2
    rows, rows_norm = norms.shape[1], float(norms.sum(1).max())
    turns = 2 * math.pi * (axes * (axes + 1) * max(taps.shape[1 : 1 + axes], default=1) + 2) + 8
    evaluation = gamma(rows + 4) + turns * UNIT_ROUNDOFF
    double = 1.001 * (correlation + evaluation * rows_norm)
    single = double + 1.001 * gamma(rows + 8, UNIT_ROUNDOFF_32) * rows_norm + TINY
    return double, single
