"""The spectral norm of the layer as it is: its own zero padding, at its own input size."""

from __future__ import annotations

import math

from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.report import PADDED, Measurement, Method


def calculate(problem: Problem) -> Measurement:
    """Both ends: Lanczos on the operator from below, and from above the proof that the size allows."""
    from convsv_cli.spectral.zero_padding import zero_padded_norm

    enclosure = zero_padded_norm(
        problem.kernel, problem.input_size, tolerance=problem.tolerance, limit=problem.work_limit
    )
    return Measurement(value=enclosure.upper, enclosure=enclosure, size=problem.input_size)


def work(problem: Problem) -> int:
    """Multiplications of a dozen convolutions, there and back."""
    stride = math.prod(problem.kernel.geometry.stride)
    return 24 * problem.kernel.original.numel() * math.prod(problem.input_size) // stride


CALCULATOR = Calculator(
    method=Method(
        name="zero_padded",
        column="",
        kind=PADDED,
        proves="the true norm with the layer's own zero padding at its input size lies between both ends",
        reference="Golub & Kahan 1965 from below; from above Cholesky proofs: convsv, or circular embedding",
        cost="that of certified and of a dozen Lanczos steps; then a banded factorization, or that of exact",
    ),
    calculate=calculate,
    work=work,
)
