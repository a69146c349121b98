r"""The Gram symbol of a convolution, H = G G* or G* G on the smaller side, as a trigonometric polynomial.

With the taps `K_t`, H(theta) = sum_lag A_lag exp(-i <lag, theta>), A_lag = sum_t K_t K_{t - lag}^T, and
A_{-lag} = A_lag^T. Once the A are known, H at any frequencies is one real matrix product, O(rows p^2) a
frequency for p = min(c_out, c_in), where a Gram matrix by its definition costs O(p^2 q).

Where the A cost much, they are first formed in single precision only, and a few H in double precision by
their definition; the A in double precision are formed once many are asked for.

Rounding, with |.| entry by entry, S = sum_t |K_t| and the unit roundoff u of the precision:

* A: sums of q products and then of at most as many as there are taps, so |dH| <= gamma_{q + taps} S S^T,
  whose norm is at most |S|_F^2;
* H from A: sums of `rows` products of a phase and a coefficient, each phase off by a few 2^-53 for every turn
  that enters it, and by u where it is rounded: at most (gamma_rows + phase) sum_rows |row|_F;
* H by definition: see `definition_error`, where |G|_F^2 is the trace of H, at most the sum of the rows'
  |traces|.

**Moments.** Trace and Frobenius norm of H are trigonometric polynomials too, so that a bound of its largest
eigenvalue costs O(rows^2) a frequency, and no matrix is formed. With c = tr H / p, lambda_1(H) <= c +
sqrt(1 - 1 / p) |H - c I|_F (Wolkowicz and Styan, Bounds for eigenvalues using traces, 1980, theorem 2.1), and
|H - c I|_F^2 = |H|_F^2 - 2 c tr H + c^2 p. For a c that is off by t / p, the trace of H - c I is t, and adds
at most |t| / p. This clears most frequencies where a spectrum decays. Rounding: the products of rows are sums
of p sums of p products, and 2 rows^2 more terms enter |H|_F^2, each at most the product of two rows' norms;
tr H is at most sqrt(p) |H|_F.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, UNIT_ROUNDOFF_32, gamma, up
from convsv_cli.spectral.cores import parallel_map
from convsv_cli.spectral.costs import PHASE_BYTES, Shape
from convsv_cli.spectral.definition import (
    definition_error,
    gram_by_definition,
    half_lags,
    phase_error,
    phases,
)

TINY = 2.0**-120  # more than what underflow in single precision can hide of matrices of norm about 1
COSTLY = 10**8  # multiplications for the A, above which single precision comes first
TINY_SQUARES = 2.0**-70  # more than what underflow of its square can hide of a number in single precision
MOST_ROWS = 2048  # of a polynomial whose moments are formed
FEW = 8  # frequencies that are cheaper by definition


@dataclass(frozen=True, kw_only=True, eq=False)
class GramSymbol:
    """Gram symbols of a batch of kernels.

    Rows are real [blocks, rows, p, p]. The first, `even` ones are symmetric, with the phases 1 and cos <lag,
    theta> for each lag; the others are antisymmetric, with the phases sin <lag, theta>; and
    H = sum_even phase * row + i sum_odd phase * row.

    Attributes:
        taps: float64 [blocks, *k, p, q].
        lags: float64 [lags, axes], one of each pair of opposite lags, without zero.
        single: the rows in float32.
        row_norms: float64 [blocks, rows], upper bounds of the rows' Frobenius norms.
        error, error_single: bounds of the spectral norm of what rounding does to one H.
    """

    taps: torch.Tensor
    lags: torch.Tensor
    single: torch.Tensor
    row_norms: torch.Tensor
    error: float
    error_single: float
    _latest: dict[tuple[float, ...], torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def double(self) -> torch.Tensor:
        """The rows in float64."""
        return _rows(self.taps, self.lags)

    @property
    def side(self) -> int:
        """p, the smaller number of channels."""
        return self.taps.shape[-2]

    @cached_property
    def shape(self) -> Shape:
        """What the cost of a search depends on."""
        return Shape(
            blocks=self.blocks,
            side=self.side,
            across=self.taps.shape[-1],
            spatial=tuple(self.taps.shape[1:-2]),
        )

    @property
    def blocks(self) -> int:
        """Number of kernels."""
        return len(self.taps)

    @property
    def rows(self) -> int:
        """Number of terms of the polynomial."""
        return 1 + 2 * len(self.lags)

    @property
    def even(self) -> int:
        """Number of the symmetric ones."""
        return 1 + len(self.lags)

    @property
    def device(self) -> torch.device:
        """Where it is kept."""
        return self.taps.device

    def error_of(self, dtype: torch.dtype) -> float:
        """The error in that precision."""
        return self.error_single if dtype == torch.complex64 else self.error

    def phases(self, turns: torch.Tensor) -> torch.Tensor:
        """The rows' phases at theta = 2 pi turns: [n, axes] -> float64 [n, rows]."""
        return phases(self.lags, turns)

    def prepare(self, count: int, dtype: torch.dtype) -> None:
        """Form what H at `count` frequencies needs; better before several cores need it at once."""
        if dtype == torch.complex128 and count > FEW:
            _ = self.double

    def at(self, block: torch.Tensor, turns: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """H at theta = 2 pi turns: block [n], turns [n, axes] -> [n, p, p] of that complex type."""
        if dtype == torch.complex128 and len(turns) <= FEW and "double" not in self.__dict__:
            return gram_by_definition(self.taps, block, turns)
        rows = (self.single if dtype == torch.complex64 else self.double).flatten(2)
        waves = self.phases(turns).to(rows.dtype)
        real = self._sum(waves[:, : self.even], rows[:, : self.even], block)
        imaginary = self._sum(waves[:, self.even :], rows[:, self.even :], block)
        return torch.complex(real, imaginary).view(len(turns), self.side, self.side)

    def _sum(self, waves: torch.Tensor, rows: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        return waves @ rows[0] if self.blocks == 1 else torch.bmm(waves[:, None], rows[block])[:, 0]

    def at_one(self, block: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        """H at one frequency in double precision, kept until another is asked for: [p, p]."""
        key = (int(block), *turns[0].tolist())
        if key not in self._latest:
            self._latest.clear()
            self._latest[key] = self.at(block, turns, torch.complex128)[0]
        return self._latest[key]

    def forms(self, block: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """The quadratic forms v* row v, in single precision: complex64 [n, p] -> float64 [n, rows].

        So that v* H v = phases . forms.
        """
        if self.blocks == 1:
            parts = torch.view_as_real(vectors.T.contiguous()).flatten(1)
            images = (self.single[0].flatten(0, 1) @ parts).view(-1, self.side, len(vectors), 2)
            products = torch.einsum("np,rpn->nr", vectors.conj(), torch.view_as_complex(images))
        else:
            rows = self.single[block].to(torch.complex64)
            products = torch.einsum("np,nrpq,nq->nr", vectors.conj(), rows, vectors)
        return torch.cat([products[:, : self.even].real, -products[:, self.even :].imag], 1).double()

    @property
    def has_moments(self) -> bool:
        """Whether `moment_bound` is cheap compared with the matrices; setting it up costs O(rows^2 p^2)."""
        return self.blocks == 1 and self.rows <= min(self.side**2, MOST_ROWS)

    def moment_bound(self, turns: torch.Tensor) -> torch.Tensor:
        """Proven to be above lambda_1(H) at theta = 2 pi turns, of one kernel: [n, axes] -> float64 [n]."""
        pieces = torch.split(turns, max(1, int(PHASE_BYTES / 2 / self.shape.each)))
        return torch.cat([self._moment_bound(piece) for piece in pieces])

    def _moment_bound(self, turns: torch.Tensor) -> torch.Tensor:
        even, odd, traces = self._moments
        p, total = self.side, float(self.row_norms.sum())
        cosine, sine = self.phases(turns).tensor_split([self.even], 1)
        square = ((cosine @ even) * cosine).sum(1) + ((sine @ odd) * sine).sum(1)
        trace = cosine @ traces
        centre = trace / p
        roundings = gamma(2 * p + 4, UNIT_ROUNDOFF_32) + gamma(2 * self.rows**2 + p + 32)
        distance = square - centre * (2 * trace - centre * p)
        distance = distance.clamp_min(0) + roundings * (total**2 + 2 * centre.abs() * p**0.5 * total)
        level: torch.Tensor = centre + ((1 - 1 / p) * distance).sqrt()
        return level * up(7) + roundings * total + self.error_single

    @cached_property
    def _moments(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Products of the even rows with each other, of the odd ones, and the even rows' traces: float64."""
        even, odd = self.single[0].tensor_split([self.even])
        traces = even.diagonal(dim1=-2, dim2=-1).double().sum(-1)
        return _products(even), _products(odd), traces


def gram_symbol(weight: torch.Tensor) -> GramSymbol:
    """The Gram symbols of kernels float64 [blocks, c_out, c_in, *k] whose norm is about 1.

    Cost: O(taps^2 p^2 q) once in each precision, and 24 (2 lags + 1) p^2 bytes a block.
    """
    oriented = weight if weight.shape[1] <= weight.shape[2] else weight.transpose(1, 2)
    k = tuple(weight.shape[3:])
    taps = oriented.permute(0, *range(3, weight.ndim), 1, 2).contiguous()
    lags = half_lags(k, taps)
    if math.prod(k) * taps.shape[-2] * taps.numel() < COSTLY:
        single, unit = _rows(taps, lags).float(), UNIT_ROUNDOFF
    else:
        single, unit = _rows(taps.float(), lags), UNIT_ROUNDOFF_32
    norms = _row_norms(taps, single, unit)
    error, error_single = _errors(taps, single, norms, unit)
    return GramSymbol(
        taps=taps, lags=lags, single=single, row_norms=norms, error=error, error_single=error_single
    )


def _rows(taps: torch.Tensor, lags: torch.Tensor) -> torch.Tensor:
    """The rows, in the precision of the taps."""
    p, count = taps.shape[-2], len(lags)
    rows = taps.new_empty((len(taps), 1 + 2 * count, p, p))
    rows[:, 0] = _correlation(taps, [0] * lags.shape[1])

    def fill(i: int) -> None:
        a = _correlation(taps, pairs[i])
        torch.add(a, a.mT, out=rows[:, 1 + i])
        torch.sub(a.mT, a, out=rows[:, 1 + i + count])

    pairs = lags.tolist()
    parallel_map(fill, range(count))
    return rows


def _correlation(taps: torch.Tensor, lag: list[float]) -> torch.Tensor:
    """A_lag: [blocks, *k, p, q] -> [blocks, p, p]."""
    steps = [(int(j), n) for j, n in zip(lag, taps.shape[1:-2], strict=True)]
    here = tuple(slice(max(0, j), n + min(0, j)) for j, n in steps)
    there = tuple(slice(max(0, -j), n - max(0, j)) for j, n in steps)
    everything = (slice(None),)
    products = taps[everything + here] @ taps[everything + there].mT
    return products.flatten(1, -3).sum(1) if lag else products


def _products(rows: torch.Tensor) -> torch.Tensor:
    """sum_ij row_a[i, j] row_b[i, j]: float32 [rows, p, p] -> float64 [rows, rows]."""
    total = rows.new_zeros(len(rows), len(rows), dtype=torch.float64)
    for pieces in torch.split(rows.transpose(0, 1), max(1, PHASE_BYTES // (4 * max(1, len(rows)) ** 2))):
        total += (pieces @ pieces.mT).sum(0, dtype=torch.float64)
    return total


def _row_norms(taps: torch.Tensor, single: torch.Tensor, unit: float) -> torch.Tensor:
    """`row_norms`; `unit` is of the precision that made `single`."""
    p, q = taps.shape[-2:]
    count = math.prod(taps.shape[1:-2])
    norms: torch.Tensor = torch.linalg.vector_norm(torch.linalg.vector_norm(single, dim=3).double(), dim=2)
    norms = norms * (1 + gamma(p + 4, UNIT_ROUNDOFF_32)) + p * TINY_SQUARES
    norms += 2 * gamma(q + count + 6, unit) * count * float(taps.square().sum((-2, -1)).max())
    return norms


def _errors(
    taps: torch.Tensor, single: torch.Tensor, norms: torch.Tensor, unit: float
) -> tuple[float, float]:
    """The errors of the module's text; `unit` is of the precision that made `single`."""
    axes, q = taps.ndim - 3, taps.shape[-1]
    count = math.prod(taps.shape[1:-2])
    terms, rows = q + count + 6, single.shape[1]
    absolute = taps.abs().flatten(1, axes).sum(1) if axes else taps.abs()
    s = float(torch.linalg.vector_norm(absolute, dim=(1, 2)).max())
    trace = float(single.diagonal(dim1=-2, dim2=-1).double().sum(-1).abs().sum(1).max())
    trace = trace * (1 + 2.0**-20) + gamma(terms, unit) * s**2
    phase, total = phase_error(tuple(taps.shape[1:-2])), float(norms.sum(1).max())
    polynomial = gamma(terms) * s**2 + (gamma(rows + 4) + phase) * total
    evaluation = (gamma(rows + 8, UNIT_ROUNDOFF_32) + phase) * total
    return (
        1.001 * max(polynomial, definition_error(taps, s, trace)),
        1.001 * (gamma(terms, unit) * s**2 + evaluation) + TINY,
    )
