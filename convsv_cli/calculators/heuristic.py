"""The kernel reshaped to a matrix: fast, and no upper bound (Miyato et al., ICLR 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convsv_cli.calculators.calculator import Advance, Calculator
from convsv_cli.report import ESTIMATE, Measurement, Method

if TYPE_CHECKING:
    from convsv_cli.kernels import Kernel


def calculate(kernel: Kernel, input_size: tuple[int, ...], advance: Advance) -> Measurement:
    """The norm of T, [c_out, c_in * prod(k)]: as published, but computed to full precision.

    It is the norm of the layer restricted to one output position, so it lies *below* the true norm at
    every circular size of at least k.
    """
    from convsv_cli.spectral.unfolding import unfolding_norm

    measurement = Measurement(value=unfolding_norm(kernel, ()).lower)
    advance(work(kernel, input_size))
    return measurement


def work(kernel: Kernel, input_size: tuple[int, ...]) -> int:  # noqa: ARG001
    """Multiplications."""
    from convsv_cli.spectral.unfolding import unfolding_work

    return unfolding_work(kernel, ())


CALCULATOR = Calculator(
    method=Method(
        name="heuristic",
        kind=ESTIMATE,
        proves="nothing: an estimate by the kernel reshaped to c_out x (c_in prod k), usually too small",
        reference="Miyato et al., Spectral Normalization for GANs, ICLR 2018",
        cost="O(c_out^2 c_in prod(k))",
    ),
    calculate=calculate,
    work=work,
)
