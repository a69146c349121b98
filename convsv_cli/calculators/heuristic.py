"""The kernel reshaped to a matrix: fast, and no upper bound (Miyato et al., ICLR 2018)."""

from __future__ import annotations

from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.report import ESTIMATE, Measurement, Method


def calculate(problem: Problem) -> Measurement:
    """The norm of T, [c_out, c_in * prod(k)]: as published, but computed to full precision.

    It is the norm of the layer restricted to one output position, so it lies *below* the true norm at
    every circular size of at least k.

    Raises:
        LimitError: there is no time for it.
    """
    from convsv_cli.limits import LimitError
    from convsv_cli.spectral.norms import BY_ENTRIES, norms_of

    norms = norms_of(problem.kernel)
    found = norms.unfolding((), problem.tolerance)
    if norms.is_coarse(()):
        raise LimitError(BY_ENTRIES)
    return Measurement(value=found.lower)


def work(problem: Problem) -> int:
    """Multiplications for the Gram matrix and its factorization."""
    from convsv_cli.model.kernel import unfolding_work

    return unfolding_work(problem.kernel, ())


CALCULATOR = Calculator(
    method=Method(
        name="heuristic",
        column="heuristic",
        kind=ESTIMATE,
        proves="nothing: an estimate by the kernel reshaped to c_out x (c_in prod k), usually too small",
        reference="Miyato et al., Spectral Normalization for GANs, ICLR 2018",
        cost="O(c_out^2 c_in prod(k))",
    ),
    calculate=calculate,
    work=work,
)
