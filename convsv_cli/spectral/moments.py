r"""Upper bounds of the largest eigenvalue from two moments of a Gram symbol, trace and Frobenius norm.

Both are trigonometric polynomials too, so that a frequency costs O(rows^2), and no matrix is formed. With c =
tr H / p, lambda_1(H) <= c + sqrt(1 - 1 / p) |H - c I|_F (Wolkowicz and Styan, Bounds for eigenvalues using
traces, 1980, theorem 2.1), and |H - c I|_F^2 = |H|_F^2 - 2 c tr H + c^2 p. For a c that is off by t / p, the
trace of H - c I is t, and adds at most |t| / p. This clears most frequencies where a spectrum decays.

Rounding: the products of rows are sums of p sums of p products, and 2 rows^2 more terms enter |H|_F^2, each
at most the product of two rows' norms; tr H is at most sqrt(p) |H|_F.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF_32, gamma, up
from convsv_cli.spectral.gram_symbol import GramSymbol


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Of the Gram symbol of one kernel.

    Attributes:
        even, odd: float64 [rows, rows], products of the rows with each other.
        traces: float64 [rows] of the even rows.
        gram: the symbol.
    """

    even: torch.Tensor
    odd: torch.Tensor
    traces: torch.Tensor
    gram: GramSymbol

    def upper(self, turns: torch.Tensor) -> torch.Tensor:
        """Proven to be above lambda_1(H) at theta = 2 pi turns: [n, axes] -> float64 [n]."""
        gram, p = self.gram, self.gram.side
        cosine, sine = gram.phases(turns).tensor_split([gram.even], 1)
        square = ((cosine @ self.even) * cosine).sum(1) + ((sine @ self.odd) * sine).sum(1)
        trace = cosine @ self.traces
        centre = trace / p
        total = float(gram.row_norms.sum())
        roundings = gamma(2 * p + 4, UNIT_ROUNDOFF_32) + gamma(2 * gram.rows**2 + p + 32)
        distance = square - centre * (2 * trace - centre * p)
        distance = distance.clamp_min(0) + roundings * (total**2 + 2 * centre.abs() * p**0.5 * total)
        level: torch.Tensor = centre + ((1 - 1 / p) * distance).sqrt()
        return level * up(7) + roundings * total + gram.error_single


def moments(gram: GramSymbol) -> Moments | None:
    """The moments of a Gram symbol where they are cheap beside its matrices.

    Cost: O(rows^2 p^2).
    """
    if gram.blocks > 1 or gram.rows > gram.side**2:
        return None
    even, odd = gram.single[0].tensor_split([gram.even])
    traces = even.diagonal(dim1=-2, dim2=-1).double().sum(-1)
    return Moments(even=_products(even), odd=_products(odd), traces=traces, gram=gram)


def _products(rows: torch.Tensor) -> torch.Tensor:
    """sum_ij row_a[i, j] row_b[i, j]: float32 [rows, p, p] -> float64 [rows, rows]."""
    pieces = rows.transpose(0, 1)
    return (pieces @ pieces.mT).sum(0, dtype=torch.float64)
