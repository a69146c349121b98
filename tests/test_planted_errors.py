"""Errors that other tools have shipped, planted one at a time: the contract suite notices each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import Phase, given, settings

from convsv_cli import kernels
from convsv_cli.calculators import CALCULATORS
from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.kernels import Kernel
from convsv_cli.network import Geometry
from convsv_cli.report import CERTIFIED, ESTIMATE, EXACT, PADDED, UPPER, Interval, Measurement
from convsv_cli.spectral import matrix_norm
from tests import contract
from tests.geometry import Case, cases

Calculate = Callable[..., Measurement]
Plant = Callable[[Calculate], Calculate]
honest_reduce = kernels.reduce_kernel


def assert_noticed(calculator: Calculator) -> None:
    """The contract suite fails for this calculator."""

    @given(case=cases())
    @settings(
        max_examples=300,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        print_blob=False,
    )
    def suite(case: Case) -> None:
        contract.check(calculator, case)

    with pytest.raises(AssertionError):
        suite()


def scaled(measured: Measurement, factor: float) -> Measurement:
    """The measurement as if every figure in it were so many times as large."""
    enclosure = measured.enclosure and Interval(
        lower=measured.enclosure.lower * factor, upper=measured.enclosure.upper * factor
    )
    parts = tuple((name, part * factor) for name, part in measured.parts)
    return replace(measured, value=measured.value * factor, enclosure=enclosure, parts=parts)


def with_weight(problem: Problem, weight: torch.Tensor) -> Problem:
    """The problem of other reduced kernels; the layer itself stays as it is."""
    return replace(problem, kernel=replace(problem.kernel, weight=weight))


def root_of_the_taps_dropped(calculate: Calculate) -> Calculate:
    """R and S without sqrt(hw), which is no bound."""
    return lambda problem: scaled(calculate(problem), 1 / math.sqrt(math.prod(problem.kernel.spatial)))


def groups_multiplied(calculate: Calculate) -> Calculate:
    """The product over the blocks instead of the maximum: 0.112 for 0.667 in a peer's tool."""

    def planted(problem: Problem) -> Measurement:
        first, *others = (calculate(with_weight(problem, block[None])) for block in problem.kernel.weight)
        return scaled(first, math.prod(other.value for other in others))

    return planted


def first_group_only(calculate: Calculate) -> Calculate:
    """All groups taken to be like the first."""
    return lambda problem: calculate(with_weight(problem, problem.kernel.weight[:1]))


def float32(calculate: Calculate) -> Calculate:
    """Single precision, which is off by 1e-7, and knows nothing below 1e-45."""

    def planted(problem: Problem) -> Measurement:
        single = problem.kernel.weight.clamp(-3e38, 3e38).float().double()
        return calculate(with_weight(problem, single))

    return planted


def squared(calculate: Calculate) -> Calculate:
    """The square of the norm in a column called norm."""

    def planted(problem: Problem) -> Measurement:
        measured = calculate(problem)
        return scaled(measured, measured.value)

    return planted


def iterated_from_below(calculate: Calculate) -> Calculate:
    """Power iteration as an upper end: the quotient that it ends with, which is never above the norm."""

    def planted(problem: Problem) -> Measurement:
        measured = calculate(problem)
        assert measured.enclosure is not None
        quotient = measured.enclosure.lower
        return replace(measured, value=quotient, enclosure=Interval(lower=quotient, upper=quotient))

    return planted


@pytest.mark.parametrize(
    "plant", [groups_multiplied, first_group_only, float32, squared], ids=lambda p: p.__name__
)
@pytest.mark.parametrize("calculator", CALCULATORS, ids=lambda c: c.method.name)
def test_errors_of_every_calculator(calculator: Calculator, plant: Plant) -> None:
    assert_noticed(replace(calculator, calculate=plant(calculator.calculate)))


@pytest.mark.parametrize(
    "calculator", [c for c in CALCULATORS if c.method.kind == UPPER], ids=lambda c: c.method.name
)
def test_root_of_the_taps_dropped(calculator: Calculator) -> None:
    assert_noticed(replace(calculator, calculate=root_of_the_taps_dropped(calculator.calculate)))


@pytest.mark.parametrize(
    "calculator",
    [c for c in CALCULATORS if c.method.kind in (CERTIFIED, PADDED)],
    ids=lambda c: c.method.name,
)
def test_power_iteration_as_an_upper_end(calculator: Calculator) -> None:
    assert_noticed(replace(calculator, calculate=iterated_from_below(calculator.calculate)))


def test_power_iteration_as_the_norm_of_an_unfolding(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Singla & Feizi's repository: ten steps, and no proof."""

    def iterated(grams: torch.Tensor, *_: float) -> float:
        vector = torch.ones(grams.shape[-1], dtype=grams.dtype)
        for _ in range(10):
            vector = torch.nn.functional.normalize(grams[0] @ vector, dim=0)
        return float(vector @ grams[0] @ vector)

    monkeypatch.setattr(matrix_norm, "proven_level", iterated)
    for calculator in CALCULATORS:
        if calculator.method.kind == UPPER:
            assert_noticed(calculator)


def stride_ignored(weight: torch.Tensor, geometry: Geometry) -> Kernel:
    """1.3 to 1.4 times too large, and no norm of the layer."""
    return honest_reduce(weight, replace(geometry, stride=(1,) * len(geometry.stride)))


def dilation_ignored(weight: torch.Tensor, geometry: Geometry) -> Kernel:
    """Right for every size at once, wrong at most sizes."""
    return honest_reduce(weight, replace(geometry, dilation=(1,) * len(geometry.dilation)))


def groups_ignored(weight: torch.Tensor, geometry: Geometry) -> Kernel:
    """All blocks below one another, as if they had the same inputs."""
    return honest_reduce(weight, replace(geometry, groups=1))


def transposed_axes_swapped(weight: torch.Tensor, geometry: Geometry) -> Kernel:
    """[c_in, c_out, *k] taken for [c_out, c_in, *k]."""
    return honest_reduce(weight, replace(geometry, transposed=False))


@pytest.mark.parametrize(
    ("reduction", "kinds"),
    [
        (stride_ignored, {ESTIMATE, EXACT, CERTIFIED, PADDED, UPPER}),
        (dilation_ignored, {EXACT, PADDED}),
        (groups_ignored, {ESTIMATE, EXACT, CERTIFIED, PADDED, UPPER}),
        (transposed_axes_swapped, {ESTIMATE, EXACT, CERTIFIED, PADDED, UPPER}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_errors_of_the_reduction(
    reduction: Callable[..., Kernel], kinds: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "reduce_kernel", reduction)
    for calculator in CALCULATORS:
        if calculator.method.kind in kinds:
            assert_noticed(calculator)
