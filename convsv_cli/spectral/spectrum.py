"""Symbols of convolutions at equispaced frequencies, and their singular values, in blocks of bounded memory.

The singular values are those of the layer with circular padding: floating-point values, not certificates.
Each is off by at most about `ACCURACY` times the largest one, or, where the circle is so small that taps meet
and cancel, the sum of the taps' norms. They come from singular value decompositions of the symbols, not from
eigenvalues of Gram matrices, which would lose all values below 1e-8 of the largest.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from convsv_cli import limits
from convsv_cli.model.kernel import Kernel
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, gamma
from convsv_cli.report import Distribution
from convsv_cli.spectral.costs import MATRIX, PHASE
from convsv_cli.spectral.matrix_norm import Scale

BLOCK_BYTES = 2**25
COPIES = 4
"""Of the symbols at hand, while their singular values are found."""
VALUES, KEPT = 30.0, 3e3
"""Multiplications in the time of one of the estimate, and of writing a singular value."""
WHAT = "the singular values at this size"
ACCURACY = 1e-13
"""About the error of a singular value, relative to the largest one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Some of the singular values of a layer, on the CPU.

    Attributes:
        values: float64 [m, c], descending along each row.
        multiplicity: int64 [m], how often each value of the row occurs.
    """

    values: torch.Tensor
    multiplicity: torch.Tensor

    @property
    def count(self) -> int:
        """Number of singular values, repeated ones as often as they occur."""
        return int(self.multiplicity.sum()) * self.values.shape[1]


def singular_values(kernel: Kernel, input_size: tuple[int, ...]) -> Iterator[Block]:
    """The singular values of the layer's dense matrix at `kernel.circular_size(input_size)`.

    The blocks' counts add up to `count_values`: the smaller side of that matrix. A value stands for those at
    the opposite frequency, and at all frequencies of the lattice that dilation maps to one of the grid.
    Zeros for inputs that no tap reaches, because of a stride, come last.

    Yields:
        Blocks that each take about as much memory as a block of `symbols`, whatever the size.
    """
    blocks, c_out, c_in = kernel.weight.shape[:3]
    grid = kernel.grid(input_size)
    copies = math.prod(kernel.coarse_size(input_size)) // math.prod(grid)
    weight = wrapped(kernel.weight.double(), grid)
    scale = Scale.of(weight)
    start = 0
    for symbol in symbols(scale.apply(weight), grid):
        stop = start + len(symbol) // blocks
        values = _svdvals(symbol) * math.ldexp(1.0, scale.exponent)
        times = copies * multiplicity(start, stop, grid)
        yield Block(values=values.cpu(), multiplicity=times.repeat_interleave(blocks))
        start = stop
    missing = count_values(kernel, input_size) - copies * math.prod(grid) * blocks * min(c_out, c_in)
    if missing:
        yield Block(values=torch.zeros(1, 1, dtype=torch.float64), multiplicity=torch.tensor([missing]))


def count_values(kernel: Kernel, input_size: tuple[int, ...]) -> int:
    """The smaller side of the layer's dense matrix."""
    groups, stride = kernel.geometry.groups, kernel.geometry.stride
    c_out, c_in = kernel.original.shape[0] // groups, kernel.original.shape[1]  # of the fine lattice: inputs
    return groups * math.prod(kernel.coarse_size(input_size)) * min(c_out, c_in * math.prod(stride))


def spectrum_work(kernel: Kernel, input_size: tuple[int, ...]) -> int:
    """Multiplications, up to a factor, from the shape alone."""
    blocks, c_out, c_in = kernel.weight.shape[:3]
    return half_grid_size(kernel.grid(input_size)) * blocks * c_out * c_in * min(c_out, c_in)


def ask_for_values(kernel: Kernel, input_size: tuple[int, ...], *, kept: int = 0) -> None:
    """Ask for what all singular values take, of which so many are kept in a file.

    Raises:
        LimitError: that is more than the model may.
    """
    blocks, c_out, c_in = kernel.weight.shape[:3]
    grid, taps = kernel.grid(input_size), math.prod(kernel.spatial)
    limits.hold(COPIES * (16 * blocks * c_out * c_in + BLOCK_BYTES) + 32 * kernel.weight.numel(), WHAT)
    values = VALUES * spectrum_work(kernel, input_size) + MATRIX * half_grid_size(grid) * blocks
    products = half_grid_size(grid) * taps * (2.0 * blocks * c_out * c_in + PHASE)
    limits.multiply(values + products + KEPT * kept, WHAT)


def _svdvals(symbol: torch.Tensor) -> torch.Tensor:
    """Singular values [m, c] of [m, p, q], c = min(p, q), descending; a vector's is its length."""
    if min(symbol.shape[1:]) == 1:
        length: torch.Tensor = torch.linalg.vector_norm(symbol.flatten(1), dim=1, keepdim=True)
        return length
    values: torch.Tensor = torch.linalg.svdvals(symbol)
    return values


class Tally:
    """Adds up blocks of singular values."""

    def __init__(self, *, upper: float, bins: int) -> None:
        """From a proven upper end of all values, which the histogram ends at: so one pass will do."""
        self._edge = min(upper, sys.float_info.max)
        self._histogram = torch.zeros(bins, dtype=torch.int64)
        self._count = self._vanishing = 0
        self._largest, self._smallest = 0.0, math.inf
        self._sum = self._squares = 0.0  # in units of the edge, so that no square over- or underflows

    def add(self, block: Block) -> None:
        """Count a block's values in."""
        bins = len(self._histogram)
        relative = block.values / (self._edge or 1.0)
        times = block.multiplicity.to(torch.float64)  # exact below 2^53
        index = (relative * bins).to(torch.int64).clamp(max=bins - 1)  # rounding may leave one above the edge
        weights = times[:, None].expand_as(relative).flatten()
        self._histogram += torch.bincount(index.flatten(), weights, bins).to(torch.int64)
        self._vanishing += int(((relative <= ACCURACY).sum(1) * block.multiplicity).sum())
        self._count += block.count
        self._largest = max(self._largest, float(block.values.max()))
        self._smallest = min(self._smallest, float(block.values.min()))
        self._sum += float(relative.sum(1) @ times)
        self._squares += float(relative.square().sum(1) @ times)

    def distribution(self) -> Distribution:
        """Of all values so far, at least one."""
        return Distribution(
            count=self._count,
            largest=self._largest,
            smallest=self._smallest,
            frobenius=self._edge * math.sqrt(self._squares),
            nuclear=self._edge * self._sum,
            vanishing=self._vanishing,
            edge=self._edge,
            histogram=tuple(self._histogram.tolist()),
        )


def unravelled(flat: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Row-major positions [n] by axes, [n, axes]; what torch has for it takes half a second to load."""
    places = []
    for size in reversed(shape):
        places.append(flat % size)
        flat = flat.div(size, rounding_mode="floor")
    return torch.stack(places[::-1], 1) if places else flat.new_zeros(len(flat), 0)


def half_grid_size(grid: tuple[int, ...]) -> int:
    """Number of frequencies that `symbols` visits."""
    return math.prod(half_grid(grid))


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
        index = unravelled(flat, half_grid(grid))
        angle = _angles(index, grid, tuple(k))
        block = torch.complex(angle.cos() @ matrix, -(angle.sin() @ matrix))
        yield block.reshape(-1, c_out, c_in)


def kernel_of(found: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """The real kernel [c_out, c_in, *grid] that has about these `symbols` [frequencies, c_out, c_in]."""
    axis = _halved_axis(grid)
    spectrum = found.reshape(*half_grid(grid), *found.shape[1:]).movedim((-2, -1), (0, 1))
    order = [i for i in range(len(grid)) if i != axis]
    if order:
        spectrum = torch.fft.ifftn(spectrum, dim=[2 + i for i in order])
    if axis is None:
        return spectrum.real
    kernel: torch.Tensor = torch.fft.irfft(spectrum, n=grid[axis], dim=2 + axis)
    return kernel


def multiplicity(start: int, stop: int, grid: tuple[int, ...]) -> torch.Tensor:
    """How many frequencies of the grid each stands for that `symbols` visits: int64 [stop - start], 1 or 2.

    Only the halved axis decides: where its frequency is its own opposite (0 or pi), the other axes' opposite
    frequencies are visited too.
    """
    axis = _halved_axis(grid)
    if axis is None:
        return torch.ones(stop - start, dtype=torch.int64)
    index = unravelled(torch.arange(start, stop), half_grid(grid))[:, axis]
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


def half_grid(grid: tuple[int, ...]) -> tuple[int, ...]:
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
