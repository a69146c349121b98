"""The spectral norm for every input size at once: the supremum over all frequencies, enclosed."""

from __future__ import annotations

from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.report import CERTIFIED, Measurement, Method


def calculate(problem: Problem) -> Measurement:
    """The supremum, within the tolerance unless the work limit came first; its upper end is the figure."""
    from convsv_cli.spectral.norms import norms_of

    enclosure = norms_of(problem.kernel).supremum(tolerance=problem.tolerance, limit=problem.work_limit)
    return Measurement(value=enclosure.upper, enclosure=enclosure)


def work(problem: Problem) -> int:
    """Multiplications."""
    from convsv_cli.spectral.norms import search_work

    return search_work(problem.kernel)


CALCULATOR = Calculator(
    method=Method(
        name="certified",
        column="certified ≤",
        kind=CERTIFIED,
        proves="the true norm is not larger, at any input size, circular or zero-padded; nearly attained",
        reference="branch and bound on the symbol, Bernstein-Szegoe inequality and Cholesky proofs: convsv",
        cost="a few hundred O(c^3) for c = min(c_out, c_in), independent of the input size",
    ),
    calculate=calculate,
    work=work,
)
