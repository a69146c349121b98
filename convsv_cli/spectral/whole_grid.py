r"""The largest eigenvalue of a Gram symbol over a grid, from all its matrices at once, where these are small.

H(theta) = sum_lag A_lag exp(-i <lag, theta>) (see `gram_symbol`) is a Fourier transform of the A, one axis
after the other, which makes H at one of many points as cheap as a few products of p x p. One of each opposite
pair of points is enough. The largest eigenvalue is looked for where sum lambda^2 / sum lambda, which is not
above it, is largest. That nothing is larger is proven by a factorization at each point.

Rounding, with |.| entry by entry: A is off by gamma_{q + taps} S S^T, S = sum_t |K_t|, at most |S|_F^2 in
norm. One axis of L lags adds what its sums of L complex products may lose, gamma_{4 (L + 2)}, and its phases,
each of an integer modulo n, so off by a few 2^-53. What they act on is at most sum_lag |A_lag|_F <= (sum_t
|K_t|_F)^2. Of H, one triangle is read: so all that counts at most twice.
"""

from __future__ import annotations

import itertools
import math

import torch

from convsv_cli import limits
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma
from convsv_cli.spectral.ascent import Peaks
from convsv_cli.spectral.costs import Shape
from convsv_cli.spectral.matrix_norm import cholesky_margin, proven_below
from convsv_cli.spectral.spectrum import half_grid, unravelled

LOOKED_AT = 16
"""Matrices of which all eigenvalues are found."""
ENTRY, PRODUCT = 350.0, 3.0
"""Multiplications in the time of what is done with an entry of a matrix, and with an entry and a column."""
COPIES = 6
"""Of the matrices, while they are formed and factorized."""
PHASE = 64.0
"""Units in which exp(2 pi i j / n) is off, and more: the angle, at most 2 pi, has four roundings."""
TINY = 2.0**-200
"""Compared with matrices scaled to entries of about 1."""
WORTH = 1.5e8
"""Multiplications in the time of the search that this saves."""


def is_worth_it(weight: torch.Tensor, grid: tuple[int, ...], limit: float) -> bool:
    """Whether all matrices of [blocks, c_out, c_in, *k] cost less than a search; they are asked for then.

    `limit` is how many multiplications there may be.
    """
    shape, points = Shape.of(weight), float(math.prod(half_grid(grid)))
    each = ENTRY * shape.side**2 + PRODUCT * shape.side**3
    cost = shape.blocks * (points * each + (shape.taps * shape.side) ** 2 * shape.across)
    size = 16.0 * shape.blocks * shape.side**2 * (COPIES * points + shape.taps**2)
    if cost > min(WORTH, limit) or not limits.fits(size):
        return False
    limits.begin_search(cost, "the norm on a grid")
    return True


def whole_grid(weight: torch.Tensor, grid: tuple[int, ...]) -> tuple[float, Peaks]:
    """A proven upper end of the largest eigenvalue at frequencies 2 pi j / grid, and where it is attained.

    Args:
        weight: float64 [blocks, c_out, c_in, *k], of norm about 1.
        grid: number of frequencies on each axis, at least k.
    """
    matrices, error = gram_matrices(weight, grid)
    squares = torch.view_as_real(matrices).square().sum((-3, -2, -1))
    hopes = squares / matrices.diagonal(dim1=-2, dim2=-1).real.sum(-1).clamp_min(1e-300)
    top, where = _largest(matrices, hopes.topk(min(LOOKED_AT, len(hopes))).indices)
    excess = max(2 * (error + cholesky_margin(matrices.shape[-1], matrices.dtype) * top), TINY)
    left = torch.arange(len(matrices), device=weight.device)
    while len(left := left[~proven_below(matrices[left], top + excess, error)]):
        most = left[hopes[left].topk(min(LOOKED_AT, len(left))).indices]
        higher, place = _largest(matrices, most)
        if higher > top:
            top, where = higher, place
        else:
            excess *= 2
    return top + excess, _peaks(matrices[where], top, where, len(weight), grid)


def _largest(matrices: torch.Tensor, some: torch.Tensor) -> tuple[float, int]:
    """The largest eigenvalue of some of the matrices, and of which one."""
    values = torch.linalg.eigvalsh(matrices[some])[:, -1]
    best = int(values.argmax())
    return float(values[best]), int(some[best])


def _peaks(matrix: torch.Tensor, top: float, where: int, blocks: int, grid: tuple[int, ...]) -> Peaks:
    """The point of that number."""
    place = unravelled(torch.tensor([where], device=matrix.device), (blocks, *half_grid(grid)))
    return Peaks(
        block=place[:, 0],
        index=place[:, 1:],
        value=matrix.new_tensor([top], dtype=torch.float64),
        vector=torch.linalg.eigh(matrix)[1][None, :, -1],
    )


def gram_matrices(weight: torch.Tensor, grid: tuple[int, ...]) -> tuple[torch.Tensor, float]:
    """H at half of the grid's points, complex128 [blocks * n, p, p], and a bound of the errors in norm."""
    wide = weight if weight.shape[1] <= weight.shape[2] else weight.transpose(1, 2)
    blocks, p, q, *k = wide.shape
    taps = wide.reshape(blocks, p, q, -1).permute(0, 3, 1, 2)
    norms, absolute = torch.linalg.vector_norm(taps, dim=(2, 3)).sum(1), taps.abs().sum(1)
    size = float(torch.linalg.vector_norm(absolute, dim=(1, 2)).max()) ** 2
    total = gamma(q + math.prod(k) + 8) * size
    values, growth = _lags(taps, k).to(torch.complex128), 1.0
    lags = [2 * n - 1 for n in k]
    for axis in reversed(range(len(k))):
        phases = _phases(grid[axis], half_grid(grid)[axis], k[axis], weight.device)
        values = phases @ values.reshape(blocks * math.prod(lags[:axis]), lags[axis], -1)
        growth *= 1 + gamma(4 * (lags[axis] + 2)) + PHASE * UNIT_ROUNDOFF
    total += (growth - 1) * float(norms.max()) ** 2
    return values.view(-1, p, p), 2 * total


def _lags(taps: torch.Tensor, k: list[int]) -> torch.Tensor:
    """A_lag for all lags: [blocks, taps, p, q] -> [blocks, lags, p * p]."""
    blocks, count, p, q = taps.shape
    flat = taps.reshape(blocks, count * p, q)
    products = (flat @ flat.mT).view(blocks, count, p, count, p).transpose(2, 3).reshape(blocks, -1, p * p)
    steps = torch.tensor(list(itertools.product(*map(range, k))), device=taps.device).view(count, -1)
    lags = (steps[:, None] - steps + torch.tensor(k, device=taps.device) - 1).flatten(0, 1)
    place = torch.zeros(len(lags), dtype=torch.int64, device=taps.device)
    for axis, n in enumerate(k):
        place = place * (2 * n - 1) + lags[:, axis]
    result = taps.new_zeros(blocks, math.prod(2 * n - 1 for n in k), p * p)
    return result.index_add_(1, place, products)


def _phases(n: int, points: int, k: int, device: torch.device) -> torch.Tensor:
    """exp(-2 pi i j lag / n) for the first points of an axis: complex128 [points, 2 k - 1]."""
    places, lags = torch.arange(points, device=device), torch.arange(1 - k, k, device=device)
    angle = torch.outer(places, lags).remainder(n).double() * (2 * math.pi / n)
    return torch.complex(angle.cos(), -angle.sin())
