"""What every calculator owes its reader, by kind; each check raises AssertionError where it is not kept."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from convsv_cli import kernels
from convsv_cli.calculators.calculator import Calculator
from convsv_cli.report import ESTIMATE, EXACT, UPPER, Measurement
from tests import oracles
from tests.geometry import Case

DENSE_ROUNDING = 1e-12  # relative, of LAPACK's singular values at these sizes
TOLERANCE = 1e-9  # relative, of what the package may lose


def calculate(calculator: Calculator, case: Case) -> Measurement:
    """The calculator's word on the layer, reduced afresh."""
    kernel = kernels.reduce_kernel(torch.from_numpy(case.weight), case.geometry)
    return calculator.calculate(kernel, case.input_size, lambda _: None)


def check(calculator: Calculator, case: Case) -> None:
    """What the calculator's kind promises."""
    CHECKS[calculator.method.kind](calculator, case)


def check_exact(calculator: Calculator, case: Case) -> None:
    """Its narrow enclosure contains the dense norm at the size that it names; its value is that norm."""
    measured = calculate(calculator, case)
    assert measured.size == case.input_size, "the figure is for another size"
    truth = oracles.spectral_norm(case.circular())
    enclosure = measured.enclosure
    assert enclosure is not None, "an exact figure without an enclosure"
    assert_enclosed(enclosure.lower, truth, enclosure.upper)
    assert enclosure.lower <= measured.value <= enclosure.upper, "the value lies outside its own enclosure"
    assert_close(measured.value, truth)
    assert_close(enclosure.upper, truth, at_zero=1e-9 * float(abs(case.weight).sum()))


def check_upper(calculator: Calculator, case: Case) -> None:
    """Each part is sqrt(prod k) times an unfolding's norm, and none is below the norm of any padded layer."""
    measured = calculate(calculator, case)
    assert measured.size is None, "a bound for every size names one"
    assert measured.enclosure is not None, "a bound without an enclosure"
    assert (measured.enclosure.lower, measured.enclosure.upper) == (0.0, measured.value)
    assert measured.value == min(part for _, part in measured.parts), "not the least of its parts"
    check_parts(measured, case)
    for matrix in operators(case):
        truth = oracles.spectral_norm(matrix)
        assert measured.value >= truth * (1 - DENSE_ROUNDING), f"{measured.value} does not bound {truth}"


def check_parts(measured: Measurement, case: Case) -> None:
    """Each part is, and is not below, sqrt(prod k) times its unfolding's norm; no unfolding is left out."""
    unfoldings = case.unfoldings()
    g = case.geometry
    phases = [s // math.gcd(s, d) for s, d in zip(g.stride, g.dilation, strict=True)]
    taps = math.prod(math.ceil(k / count) for k, count in zip(case.weight.shape[2:], phases, strict=True))
    labels = {label_rows(label, len(g.stride)): part for label, part in measured.parts}
    assert labels.keys() == unfoldings.keys(), "not every unfolding"
    for rows, part in labels.items():
        expected = math.sqrt(taps) * unfoldings[rows]
        assert_close(part, expected, at_zero=1e-9)
        assert part >= expected * (1 - DENSE_ROUNDING), f"{part} is below {expected}"


def label_rows(label: str, axes: int) -> frozenset[int]:
    """The spatial axes that the named unfolding has in its rows."""
    named = {"T": frozenset[int](), "U": frozenset(range(axes))}
    if axes == 2:
        named |= {"R": frozenset({0}), "S": frozenset({1})}
    return named[label] if label in named else frozenset(map(int, label.removeprefix("R")))


def check_estimate(calculator: Calculator, case: Case) -> None:
    """It is the norm of T, and pretends to no enclosure."""
    measured = calculate(calculator, case)
    assert measured.enclosure is None, "an estimate proves nothing"
    assert_close(measured.value, case.unfoldings()[frozenset()])


def operators(case: Case) -> Iterator[np.ndarray]:
    """The layer as it is used: circular at sizes about its own, and zero-padded in several ways."""
    g, axes = case.geometry, len(case.input_size)
    step = g.stride[:1] if axes and not g.transposed else (1,) * min(axes, 1)
    for change in (0, 1, -1):
        first = tuple(max(n + change * s, s) for n, s in zip(case.input_size, step, strict=False))
        yield case.at((*first, *case.input_size[1:])).circular()
    full = tuple(d * (k - 1) for d, k in zip(g.dilation, case.weight.shape[2:], strict=True)) * 2
    for padding in (g.padding, (0,) * len(full), full):
        yield case.zero_padded(padding)


def assert_close(value: float, truth: float, *, at_zero: float = 0.0) -> None:
    """Within `TOLERANCE` of the truth; where that is zero, at most `at_zero`."""
    allowed = TOLERANCE * truth or at_zero
    assert abs(value - truth) <= allowed, f"{value} is not {truth}"


def assert_enclosed(lower: float, truth: float, upper: float) -> None:
    """The dense norm lies in [lower, upper], up to its own rounding."""
    slack = DENSE_ROUNDING * truth
    assert lower <= truth + slack, f"the lower end {lower} is above {truth}"
    assert truth - slack <= upper, f"the upper end {upper} is below {truth}"


CHECKS = {EXACT: check_exact, UPPER: check_upper, ESTIMATE: check_estimate}
