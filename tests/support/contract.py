"""What every calculator owes its reader, by kind; each check raises AssertionError where it is not kept."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.model import kernel as kernels
from convsv_cli.report import CERTIFIED, ESTIMATE, EXACT, PADDED, UPPER, Interval, Measurement
from tests.support import oracles
from tests.support.geometry import Case

DENSE_ROUNDING = 1e-12  # relative, of LAPACK's singular values at these sizes
TOLERANCE = 1e-9  # relative, of what the package may lose
WIDTH = 1e-4  # relative, of an enclosure that is asked for
CLIMBED = 1e-7  # relative, what the oracle's ascent to the supremum may leave


def problem(case: Case, *, tolerance: float = WIDTH, work_limit: float = math.inf) -> Problem:
    """The layer as calculators are given it, reduced afresh."""
    kernel = kernels.reduce_kernel(torch.from_numpy(case.weight), case.geometry)
    return Problem(kernel=kernel, input_size=case.input_size, tolerance=tolerance, work_limit=work_limit)


def calculate(calculator: Calculator, case: Case) -> Measurement:
    """The calculator's word on the layer."""
    return calculator.calculate(problem(case))


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


def check_certified(calculator: Calculator, case: Case) -> None:
    """Its value bounds the layer at every size and padding; its enclosure of the supremum is narrow."""
    measured = calculate(calculator, case)
    assert measured.size is None, "a bound for every size names one"
    enclosure = measured.enclosure
    assert enclosure is not None, "a certified figure without an enclosure"
    assert measured.value == enclosure.upper, "the figure is not the proven end"
    assert_bounds_everywhere(enclosure, case)
    assert enclosure.upper <= enclosure.lower * (1 + WIDTH), f"{enclosure} is wider than asked for"


def assert_bounds_everywhere(enclosure: Interval, case: Case) -> None:
    """The supremum lies in the enclosure, and no padded layer is above it."""
    attained = case.supremum()
    assert_enclosed(0.0, attained, enclosure.upper)
    assert enclosure.lower <= attained * (1 + CLIMBED), f"{enclosure.lower} is above the supremum {attained}"
    for matrix in operators(case):
        assert_enclosed(0.0, oracles.spectral_norm(matrix), enclosure.upper)


def check_padded(calculator: Calculator, case: Case) -> None:
    """Its enclosure holds the dense norm with the layer's own padding, at the layer's own size."""
    if not case.input_size:
        return  # no axis, no padding: nothing asks for it
    measured = calculate(calculator, case)
    enclosure = measured.enclosure
    assert enclosure is not None, "a padded figure without an enclosure"
    assert measured.size == case.input_size, "the figure is for another size"
    assert measured.value == enclosure.upper, "the figure is not the proven end"
    truth = oracles.spectral_norm(case.own_padding())
    assert_enclosed(enclosure.lower, truth, enclosure.upper)
    assert not case.own_padding().any() or enclosure.upper <= case.supremum() * (1 + WIDTH + CLIMBED)


def assert_truth_of_kind(kind: str, enclosure: Interval | None, case: Case) -> None:
    """Whatever its width, it encloses what a figure of that kind is about."""
    assert enclosure is not None, "no enclosure"
    if kind == CERTIFIED:
        assert_bounds_everywhere(enclosure, case)
        return
    matrix = case.circular() if kind == EXACT else case.own_padding()
    slack = 1e-15 * float(abs(case.weight).sum())
    truth = oracles.spectral_norm(matrix)
    assert_enclosed(max(0.0, enclosure.lower - slack), truth, enclosure.upper)


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


CHECKS = {
    ESTIMATE: check_estimate,
    EXACT: check_exact,
    CERTIFIED: check_certified,
    PADDED: check_padded,
    UPPER: check_upper,
}
