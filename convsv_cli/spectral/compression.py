r"""Proofs in the few directions in which a Gram symbol can be large.

Let r_t > 0 with sum_t r_t <= 1, and A = sum_t K_t K_t^T / r_t, one real matrix for all frequencies.

**Majorant.** H(theta) <= A, as Hermitian matrices. *Proof.* |G(theta)* x| = |sum_t exp(..) K_t^T x| <= sum_t
sqrt(r_t) |K_t^T x| / sqrt(r_t) <= sqrt(x* A x), by Cauchy and Schwarz. Good r_t are |K_t| / sum |K|.

**Compression.** Let E = [V, W] be any real p x p matrix with |E^T E - I| <= eta, and W^T A W <= diag(mu).
With t = (1 - eta) level above all mu, lambda_1(H) < level if

    t I - D - C diag(1 / (t - mu)) C* > 0,    D = V^T H V, C = V^T H W,

a matrix of the size of V. *Proof.* E^T (level I - H) E >= t I - E^T H E, whose block of W is at least t I -
W^T A W >= diag(t - mu) > 0. So it is positive definite if the Schur complement of that block is; and then E
is invertible, and level I - H positive definite too.

With the eigenvectors of A for E, and those of its eigenvalues that are not small beside the level in V, this
loses next to nothing where the spectrum of A decays, as that of trained kernels does: then most frequencies
are cleared by matrices of a fraction of the size, and H itself is not formed.

Rounding: E^T A E and E^T E are formed in double precision from the very E that is used, so that E need not be
accurate; its residuals count. E^T H V = sum_lag E^T A_lag V phase is formed like H (see `gram_symbol`), and C
diag C* by sums of at most 2 (p - k) + 2 products, off by gamma of as many times |C diag^(1/2)|_F^2.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, UNIT_ROUNDOFF_32, gamma, unit_roundoff
from convsv_cli.spectral.cores import CORES, hermitian, parallel_map, product, squared
from convsv_cli.spectral.definition import half_lags, phase_error, phases
from convsv_cli.spectral.eigenpairs import eigh
from convsv_cli.spectral.matrix_norm import proven_below

SHARES = (0.75, 0.5)
"""Of the level: below them, directions can go to W."""
FEW = 4
"""Frequencies that are not worth another size of V."""
LARGEST = 0.75
"""Of p: the size of V that is worth it."""
STEP = 8
"""Of that size."""
FLAT = 0.75
"""(sum lambda)^2 / (p sum lambda^2) of the majorant, above which it hardly decays; 0.9 for random kernels."""
LEAST, LARGE = 48, 128
"""Of p: from where on it is worth it, and no more directions are kept than are needed."""
BYTES, COSTLY = 2**21, 2 * 10**7
"""Of what is formed at a time on one core, to stay in its cache; multiplications worth single precision."""
TINY = 2.0**-100
"""More than what underflow in single precision can hide of matrices of norm about 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """E^T H V as a trigonometric polynomial, for a V of k columns.

    Attributes:
        double: float64 [1 + 2 lags, p, k]: what 1, cosines and i times sines are multiplied with.
        error: of the Frobenius norm of what rounding of `double` does to E^T H V, at any frequency.
    """

    double: torch.Tensor
    error: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """What proofs of one level need.

    Attributes:
        head, tail: real [rows, k * k], [rows, (p - k) * k]: D, and C* scaled by (t - mu)^(-1/2).
        bound, error: t, and what D + C diag C* may be off by in the spectral norm.
        size: k.
    """

    head: torch.Tensor
    tail: torch.Tensor
    bound: float
    error: float
    size: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Compression:
    """Of the Gram symbol of one kernel.

    Attributes:
        taps: float64 [*k, p, q], of a norm of about 1.
        lags: float64 [lags, axes], one of each pair, without zero.
        basis: float64 [p, p], E.
        majorant: float64 [p], descending but for rounding: the mu of all columns of E.
        skew: eta.
        precise: whether E^T H V is formed in double precision however large it is.
    """

    taps: torch.Tensor
    lags: torch.Tensor
    basis: torch.Tensor
    majorant: torch.Tensor
    skew: float
    precise: bool = False
    _rows: dict[int, Rows] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def single(self) -> torch.Tensor:
        """The taps in single precision."""
        return self.taps.float()

    def size(self, level: float, share: float = SHARES[0]) -> int:
        """How many directions are worth it at a level; 0 where there are too many."""
        count = int((self.majorant >= share * level).sum())
        size = max(STEP, -(-count // STEP) * STEP)
        return size if size <= LARGEST * len(self.basis) else 0

    def cost(self, level: float, share: float) -> float:
        """Multiplications for a proof at one frequency."""
        k, p = self.size(level, share), len(self.basis)
        return (1.0 + 2 * len(self.lags)) * p * k + 3.0 * (p - k) * k**2 + 2.0 * k**3

    def below(
        self,
        turns: torch.Tensor,
        level: float,
        shares: tuple[float, ...] = SHARES,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Whether lambda_1 < level is proven at theta = 2 pi turns: float64 [n, axes] -> bool [n].

        `shares` are of the level: directions whose majorant is below it go to W, with the next one where that
        leaves frequencies open. `dtype` is the precision of the proofs.
        """
        proven = torch.zeros(len(turns), dtype=torch.bool, device=turns.device)
        for share in shares:
            left = (~proven).nonzero()[:, 0]
            few = len(left) <= (FEW if share < shares[0] else 0)
            if not few and (prepared := self._prepared(level, share, dtype)):
                each = max(1, min(BYTES // (8 * len(self.basis) * prepared.size), -(-len(left) // CORES)))
                chunks = torch.split(turns[left], each)
                proven[left] = torch.cat(parallel_map(partial(self._below, prepared), chunks))
        return proven

    def heads(self, turns: torch.Tensor, level: float) -> torch.Tensor:
        """D at some frequencies; H has no lower eigenvalues: [n, axes] -> complex64 [n, k, k]."""
        head = self.head(level)
        k, even = head.shape[-1], 1 + len(self.lags)
        cosine, sine = self._phases(turns, torch.float32)
        parts = (cosine @ head[:even].flatten(1), sine @ head[even:].flatten(1))
        return torch.complex(*parts).view(-1, k, k)

    def head(self, level: float) -> torch.Tensor:
        """D as a polynomial, float32 [1 + 2 lags, k, k], for the V of that level or a larger one."""
        self._of(self.size(level), level)
        ((k, rows),) = self._rows.items()
        return rows.double[:, :k].float()

    def vectors(self, parts: torch.Tensor) -> torch.Tensor:
        """V applied to [n, k]: complex64 [n, p]."""
        return parts.to(torch.complex64) @ self.basis[:, : parts.shape[1]].T.to(torch.complex64)

    def _phases(self, turns: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        cosine, sine = phases(self.lags, turns).to(dtype).tensor_split([1 + len(self.lags)], 1)
        return cosine, sine

    def _below(self, level: Level, turns: torch.Tensor) -> torch.Tensor:
        n, k = len(turns), level.size
        cosine, sine = self._phases(turns, level.head.dtype)
        even = cosine.shape[1]
        scaled = level.tail.new_empty(n, 2, level.tail.shape[1])
        torch.mm(cosine, level.tail[:even], out=scaled[:, 0])
        torch.mm(sine, level.tail[even:], out=scaled[:, 1])
        both = scaled.view(n, -1, k)
        real, imaginary = scaled.view(n, 2, -1, k).unbind(1)
        turned = real.mT @ imaginary
        symmetric = torch.baddbmm((cosine @ level.head[:even]).view(n, k, k), both.mT, both)
        rest = (sine @ level.head[even:]).view(n, k, k).add_(turned).sub_(turned.mT)
        return proven_below(torch.complex(symmetric, rest), level.bound, level.error)

    def _prepared(self, level: float, share: float, dtype: torch.dtype) -> Level | None:
        """None where V would be too large, or the level is not well above the majorant of W."""
        k = self.size(level, share)
        if not k:
            return None
        rows, bound = self._of(k, level), (1 - self.skew) * level * (1 - 4 * UNIT_ROUNDOFF)
        gaps = (bound - self.majorant[k:]) * (1 - 4 * UNIT_ROUNDOFF)
        if not float(gaps.min()) > (1 - SHARES[0]) / 2 * level:
            return None
        weights = gaps.rsqrt() * (1 + 8 * UNIT_ROUNDOFF)
        return Level(
            head=rows.double[:, :k].flatten(1).to(dtype),
            tail=(rows.double[:, k:] * weights[:, None]).flatten(1).to(dtype),
            bound=bound,
            error=self._error(rows, k, weights, unit_roundoff(dtype)),
            size=k,
        )

    def _error(self, rows: Rows, k: int, weights: torch.Tensor, unit: float) -> float:
        """Of D + C diag C*, by its unit roundoff, in the Frobenius norm; one triangle of it counts twice."""
        p, spatial = len(self.basis), tuple(self.taps.shape[:-2])
        evaluation = gamma(len(rows.double) + 8, unit) + phase_error(spatial)
        norms = torch.linalg.vector_norm(rows.double, dim=2) * (1 + gamma(k + 4))
        heads = float(torch.linalg.vector_norm(norms[:, :k], dim=1).sum())
        tails = float(torch.linalg.vector_norm(norms[:, k:] * weights, dim=1).sum())
        of_head = evaluation * heads + rows.error
        of_tail = evaluation * tails + rows.error * float(weights.max())
        product = 2 * tails * of_tail + of_tail**2
        product += 2 * gamma(2 * (p - k) + 4, unit) * (tails + of_tail) ** 2
        total = of_head + product + 8 * unit * (heads + tails**2)
        return 1.001 * math.sqrt(2) * total + TINY

    def _of(self, k: int, level: float) -> Rows:
        """For so many directions: the first of as many as there are already, or may soon be needed."""
        if k > max(self._rows, default=0):
            self._rows.clear()
            most = max(k, self.size(level, SHARES[-1])) if len(self.basis) < LARGE else k
            self._rows[most] = _rows(self.taps, self.basis, most, precise=self.precise)
        ((_, rows),) = self._rows.items()
        return Rows(double=rows.double[..., :k], error=rows.error)


def is_compressible(weight: torch.Tensor) -> bool:
    """Whether [blocks, c_out, c_in, *k] is one kernel of several taps, with channels enough."""
    return len(weight) == 1 and min(weight.shape[1:3]) >= LEAST and math.prod(weight.shape[3:]) > 1


def compression(taps: torch.Tensor) -> Compression | None:
    """That of the Gram symbol of one kernel, float64 [*k, p, q], of a norm of about 1.

    None where its spectrum hardly decays.

    Cost: O(taps p^2 q) once, and O(taps^2 p q k) for a V of k columns.
    """
    spatial, (p, q) = tuple(taps.shape[:-2]), taps.shape[-2:]
    flat = taps.reshape(-1, p, q)
    norms = torch.linalg.vector_norm(flat, dim=(1, 2))
    flat, norms = flat[norms > 0], norms[norms > 0]
    shares = norms / norms.sum() * (1 - 2.0**-40)  # whose sum is below 1, whatever its rounding
    wide, unit = _precision(flat, flat.numel() * p)
    wide = (wide * shares.rsqrt().to(wide.dtype)[:, None, None]).transpose(0, 1).flatten(1)
    majorant = squared(wide)
    if not float(majorant.trace()) ** 2 <= FLAT * p * float(majorant.square().sum()):  # nor where it is NaN
        return None
    basis = eigh(majorant.float())[1].flip(1).double()
    across, skew = hermitian(basis.mT, product(majorant.double(), basis)), skewness(basis)
    squares = float(torch.linalg.vector_norm(basis)) ** 2
    values = across.diagonal().clone()
    across.diagonal().zero_()
    # A = T T^T is off by gamma |T|_F^2, of which E makes 1 + eta, and E^T A E by |E|_F^2 times |T|_F^2
    lost = gamma(wide.shape[1] + 12, unit) * (1 + skew) + 2 * gamma(2 * p + 8) * squares
    lost *= float(norms.sum()) ** 2  # which is |T|_F^2
    residual = 1.001 * (float(torch.linalg.vector_norm(across)) + lost) + TINY
    return Compression(
        taps=taps,
        lags=half_lags(spatial, taps),
        basis=basis,
        majorant=values + residual,
        skew=skew,
    )


def skewness(basis: torch.Tensor) -> float:
    """A bound of the norm of E^T E - I for float64 E [p, p]."""
    skewed = squared(basis.mT)
    skewed.diagonal().sub_(1)
    squares = float(torch.linalg.vector_norm(basis)) ** 2
    return 1.001 * (float(torch.linalg.vector_norm(skewed)) + gamma(len(basis) + 4) * squares)


def _precision(tensor: torch.Tensor, products: float) -> tuple[torch.Tensor, float]:
    """In single precision where that saves time, and its unit roundoff."""
    return (tensor, UNIT_ROUNDOFF) if products < COSTLY else (tensor.float(), UNIT_ROUNDOFF_32)


def _rows(taps: torch.Tensor, basis: torch.Tensor, k: int, *, precise: bool = False) -> Rows:
    """E^T A_lag V for all lags, in the order of the phases, with A_lag V = sum_t K_t (K_{t - lag}^T V)."""
    spatial, (p, q) = tuple(taps.shape[:-2]), taps.shape[-2:]
    count, flat = math.prod(spatial), taps.reshape(-1, p, q)
    # with K_s in reverse, what K_t and K_s make is at t - s from the first of its window
    images = basis[:, :k].T.contiguous() @ flat.transpose(0, 1).reshape(p, -1)
    images = images.view(k, count, q).flip(1).permute(2, 1, 0).reshape(q, -1)
    work = 0 if precise else count * p * images.numel()
    (left, unit), (right, _) = (_precision(part, work) for part in (flat, images))
    lagged = right.new_zeros([p, *(2 * n - 1 for n in spatial), k])
    for place, tap in zip(itertools.product(*map(range, spatial)), left, strict=True):
        window = (slice(None), *(slice(t, t + n) for t, n in zip(place, spatial, strict=True)))
        lagged[window] += product(tap, right).view(p, *spatial, k)
    full = product(basis.mT, lagged.view(p, -1).double()).view(p, -1, k).transpose(0, 1)
    middle = len(full) // 2
    positive, negative = full[middle + 1 :], full[:middle].flip(0)
    rows = torch.cat([full[middle : middle + 1], positive + negative, negative - positive])
    # sums of q products and `count` terms, with |V| about 1; in double precision with |V|_F and |E|_F
    error = gamma(q + count + 8, unit) + gamma(4 * (p + q)) * math.sqrt(p * k)
    size = float(torch.linalg.vector_norm(flat, dim=(1, 2)).sum()) ** 2
    return Rows(double=rows, error=1.1 * error * size)
