"""Symbols of convolution kernels at equispaced frequencies, streamed in blocks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma

BLOCK_BYTES = 2**25


def half_grid_size(grid: tuple[int, ...]) -> int:
    """Number of frequencies that `symbols` visits."""
    return math.prod(_half(grid))


def symbols(weight: torch.Tensor, grid: tuple[int, ...]) -> Iterator[torch.Tensor]:
    """The symbols at one of each pair of opposite frequencies 2 pi j / grid.

    Kernels are real, so `G(-theta)` is the conjugate of `G(theta)` and has the same singular values.

    Args:
        weight: float64 [blocks, c_out, c_in, *k].
        grid: number of frequencies on each axis, >= 1; it may be less than k (taps then wrap around).

    Yields:
        complex128 [frequencies * blocks, c_out, c_in]; float64 where frequency zero is the only one.
    """
    blocks, c_out, c_in, *k = weight.shape
    matrix = weight.reshape(blocks * c_out * c_in, -1).T.contiguous()
    if all(n == 1 for n in grid):
        yield matrix.sum(0).reshape(blocks, c_out, c_in)
        return
    size = max(1, BLOCK_BYTES // (16 * max(matrix.shape)))  # neither symbols nor angles take more
    for start in range(0, half_grid_size(grid), size):
        flat = torch.arange(start, min(start + size, half_grid_size(grid)), device=weight.device)
        index = torch.stack(torch.unravel_index(flat, _half(grid)), 1)
        angle = _angles(index, grid, tuple(k))
        block = torch.complex(angle.cos() @ matrix, -(angle.sin() @ matrix))
        yield block.reshape(-1, c_out, c_in)


def multiplicity(start: int, stop: int, grid: tuple[int, ...]) -> torch.Tensor:
    """How many frequencies of the grid each stands for that `symbols` visits: int64 [stop - start], 1 or 2.

    Only the halved axis decides: where its frequency is its own opposite (0 or pi), the other axes' opposite
    frequencies are visited too.
    """
    axis = _halved_axis(grid)
    if axis is None:
        return torch.ones(stop - start, dtype=torch.int64)
    index = torch.unravel_index(torch.arange(start, stop), _half(grid))[axis]
    return 1 + ((index > 0) & (2 * index < grid[axis])).to(torch.int64)


def wrapped(weight: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """The kernels with taps that meet on the circle added up, for they may cancel.

    [blocks, c_out, c_in, *k] -> [blocks, c_out, c_in, *min(k, grid)]
    """
    for axis, n in enumerate(grid, start=3):
        k = weight.shape[axis]
        if k <= n:
            continue
        laps = -(-k // n)
        last = torch.nn.functional.pad(weight.movedim(axis, -1), (0, laps * n - k))
        weight = last.reshape(*last.shape[:-1], laps, n).sum(-2).movedim(-1, axis)
    return weight.contiguous()


def symbol_at(kernel: torch.Tensor, index: tuple[int, ...], grid: tuple[int, ...]) -> torch.Tensor:
    """The symbol of [c_out, c_in, *k] at the one frequency 2 pi index / grid: complex128 [c_out, c_in]."""
    angle = _angles(torch.tensor([index], device=kernel.device), grid, tuple(kernel.shape[2:]))[0]
    taps = kernel.flatten(2)
    return torch.complex(taps @ angle.cos(), -(taps @ angle.sin()))


def symbol_error(weight: torch.Tensor) -> float:
    """Bound of the spectral norm of what rounding does to one symbol that `symbols` computes.

    Each of real and imaginary part is a real sum over the taps, each angle (below 2 pi D) is off by at
    most 2 pi D (D + 4) u and its cosine by another 2 u; so `|dG| <= c sum_t |K_t|` entry by entry, which
    bounds the Frobenius norm by `c sum_t |K_t|_F`.
    """
    axes = weight.ndim - 3
    taps = weight.flatten(3) if axes else weight[..., None]
    norms = torch.linalg.vector_norm(taps, dim=(1, 2)).sum(-1).max()
    phase = (2 * math.pi * axes * (axes + 4) + 4) * UNIT_ROUNDOFF
    relative = math.sqrt(2) * (gamma(taps.shape[-1] + 2) + phase)
    return relative * float(norms) * (1 + gamma(weight[0].numel()))


def _half(grid: tuple[int, ...]) -> tuple[int, ...]:
    """The grid's shape with the last axis that has opposite frequencies cut to 0 .. n // 2."""
    axis = _halved_axis(grid)
    return tuple(n // 2 + 1 if i == axis else n for i, n in enumerate(grid))


def _halved_axis(grid: tuple[int, ...]) -> int | None:
    """The last axis that has opposite frequencies; None where there is none."""
    return max((i for i, n in enumerate(grid) if n > 2), default=None)


def _angles(index: torch.Tensor, grid: tuple[int, ...], k: tuple[int, ...]) -> torch.Tensor:
    """<t, theta_j> for grid points j and all taps t: int64 [n, axes] -> float64 [n, taps].

    Products are reduced modulo the grid as integers, so that large sizes lose no digits.
    """
    turns = torch.zeros(len(index), 1, dtype=torch.float64, device=index.device)
    for axis, (n, taps) in enumerate(zip(grid, k, strict=True)):
        t = torch.arange(taps, device=index.device)
        part = (index[:, axis, None] * t % n).to(torch.float64) / n
        turns = (turns[:, :, None] + part[:, None, :]).flatten(1)
    return 2 * math.pi * turns
