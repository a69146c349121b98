"""The spectral norm at one input size, circular padding (Sedghi, Gupta & Long, ICLR 2019)."""

from __future__ import annotations

from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.report import EXACT, Measurement, Method


def calculate(problem: Problem) -> Measurement:
    """The largest singular value over the grid of frequencies, enclosed to about 1e-10."""
    from convsv_cli.spectral.norms import norms_of

    kernel, size = problem.kernel, problem.input_size
    enclosure = norms_of(kernel).on_grid(
        kernel.grid(size), tolerance=problem.tolerance, limit=problem.work_limit
    )
    return Measurement(value=enclosure.lower, enclosure=enclosure, size=kernel.circular_size(size))


def work(problem: Problem) -> int:
    """Multiplications."""
    from convsv_cli.spectral.norms import search_work

    return search_work(problem.kernel)


CALCULATOR = Calculator(
    method=Method(
        name="exact",
        column="exact",
        kind=EXACT,
        proves="the true norm at this input size with circular padding, to about ten digits",
        reference="Sedghi, Gupta & Long, The Singular Values of Convolutional Layers, ICLR 2019",
        cost="a few hundred O(c^3) for c = min(c_out, c_in); grows with the input only for flat symbols",
    ),
    calculate=calculate,
    work=work,
)
