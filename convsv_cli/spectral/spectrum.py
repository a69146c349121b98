"""All singular values of a convolution with circular padding, streamed in blocks of bounded memory.

They are floating-point values, not certificates: each is off by at most about `ACCURACY` times the largest
one, or, where the circle is so small that taps meet and cancel, the sum of the taps' norms. They come from
singular value decompositions of the symbols, not from eigenvalues of Gram matrices, which would lose all
values below 1e-8 of the largest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from convsv_cli.model.kernel import Kernel
from convsv_cli.spectral.scaling import Scale
from convsv_cli.spectral.symbol import half_grid_size, multiplicity, symbols, wrapped

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
    weight = wrapped(kernel.weight, grid)
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


def _svdvals(symbol: torch.Tensor) -> torch.Tensor:
    """Singular values [m, c] of [m, p, q], c = min(p, q), descending; a vector's is its length."""
    if min(symbol.shape[1:]) == 1:
        length: torch.Tensor = torch.linalg.vector_norm(symbol.flatten(1), dim=1, keepdim=True)
        return length
    values: torch.Tensor = torch.linalg.svdvals(symbol)
    return values
