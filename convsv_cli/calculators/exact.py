"""The spectral norm at one input size, circular padding (Sedghi, Gupta & Long, ICLR 2019)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convsv_cli.calculators.calculator import Advance, Calculator
from convsv_cli.report import EXACT, Measurement, Method

if TYPE_CHECKING:
    from convsv_cli.kernels import Kernel


def calculate(kernel: Kernel, input_size: tuple[int, ...], advance: Advance) -> Measurement:
    """The largest singular value over the grid of frequencies, enclosed to about 1e-10."""
    from convsv_cli.spectral.norms import grid_norm
    from convsv_cli.spectral.unfolding import unfolding_norm

    if math.prod(kernel.spatial) == 1:
        enclosure = unfolding_norm(kernel, ())
        advance(work(kernel, input_size))
    else:
        cost = symbol_work(kernel)
        enclosure = grid_norm(kernel.weight, kernel.grid(input_size), lambda done: advance(done * cost))
    return Measurement(value=enclosure.lower, enclosure=enclosure, size=kernel.circular_size(input_size))


def work(kernel: Kernel, input_size: tuple[int, ...]) -> int:
    """Multiplications."""
    from convsv_cli.spectral.symbol import half_grid_size

    return half_grid_size(kernel.grid(input_size)) * len(kernel.weight) * symbol_work(kernel)


def symbol_work(kernel: Kernel) -> int:
    """Multiplications for the Gram matrix of one symbol and its factorization."""
    c_out, c_in = kernel.weight.shape[1:3]
    return min(c_out, c_in) ** 2 * (c_out + c_in)


CALCULATOR = Calculator(
    method=Method(
        name="exact",
        kind=EXACT,
        proves="the true norm at this input size with circular padding, to about ten digits",
        reference="Sedghi, Gupta & Long, The Singular Values of Convolutional Layers, ICLR 2019",
        cost="O(prod(n) c_out c_in min(c_out, c_in)), memory independent of n",
    ),
    calculate=calculate,
    work=work,
)
