"""Errors that other tools have shipped, planted one at a time: the contract suite notices each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings

from convsv_cli.calculators import CALCULATORS
from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.model import kernel as kernels
from convsv_cli.model.kernel import Kernel
from convsv_cli.model.layer import Geometry
from convsv_cli.report import CERTIFIED, ESTIMATE, EXACT, PADDED, UPPER, Interval, Measurement
from convsv_cli.spectral import grid_maximum, matrix_norm
from convsv_cli.spectral.supremum import Spectrum
from convsv_cli.spectral.tiles import Tiling, tiling
from tests.support import contract, coverage, proofs
from tests.support.geometry import Case, cases

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


def of_group(problem: Problem, group: int) -> Problem:
    """The problem of a layer whose groups are all like one of them; of reduced kernels there is one then."""
    kernel = problem.kernel
    groups = kernel.original.view(kernel.geometry.groups, -1, *kernel.original.shape[1:])
    original = torch.cat([groups[group]] * len(groups))
    kernel = replace(kernel, weight=kernel.weight[group : group + 1], original=original)
    return replace(problem, kernel=kernel)


def root_of_the_taps_dropped(calculate: Calculate) -> Calculate:
    """R and S without sqrt(hw), which is no bound."""
    return lambda problem: scaled(calculate(problem), 1 / math.sqrt(math.prod(problem.kernel.spatial)))


def groups_multiplied(calculate: Calculate) -> Calculate:
    """The product over the blocks instead of the maximum: 0.112 for 0.667 in a peer's tool."""

    def planted(problem: Problem) -> Measurement:
        groups = range(len(problem.kernel.weight))
        first, *others = (calculate(of_group(problem, group)) for group in groups)
        return scaled(first, math.prod(other.value for other in others))

    return planted


def first_group_only(calculate: Calculate) -> Calculate:
    """All groups taken to be like the first."""
    return lambda problem: calculate(of_group(problem, 0))


def float32(calculate: Calculate) -> Calculate:
    """Single precision, which is off by 1e-7, and knows nothing below 1e-45."""

    def planted(problem: Problem) -> Measurement:
        kernel = problem.kernel
        weight, original = (
            each.clamp(-3e38, 3e38).float().double() for each in (kernel.weight, kernel.original)
        )
        return calculate(replace(problem, kernel=replace(kernel, weight=weight, original=original)))

    return planted


def squared(calculate: Calculate) -> Calculate:
    """The square of the norm in a column called norm."""

    def planted(problem: Problem) -> Measurement:
        measured = calculate(problem)
        return scaled(measured, measured.value)

    return planted


def iterated_from_below(calculate: Calculate) -> Calculate:
    """Power iteration as an upper end: the quotient that it ends with, here 1e-8 below the norm."""

    def planted(problem: Problem) -> Measurement:
        measured = calculate(problem)
        assert measured.enclosure is not None
        quotient = measured.enclosure.lower * (1 - 1e-8)
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
    """[c_in, c_out, *k] taken for [c_out, c_in, *k]; no error for suprema: adjoints have the same."""
    return honest_reduce(weight, replace(geometry, transposed=False))


@pytest.mark.parametrize(
    ("reduction", "kinds"),
    [
        (stride_ignored, {ESTIMATE, EXACT, CERTIFIED, PADDED, UPPER}),
        (dilation_ignored, {EXACT, PADDED}),
        (groups_ignored, {ESTIMATE, EXACT, CERTIFIED, PADDED, UPPER}),
        (transposed_axes_swapped, {ESTIMATE, EXACT, PADDED, UPPER}),
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


def test_the_finite_rule_with_m_cos_a_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the supremum, tiles cleared as if the level were the supremum."""
    kernel = np.zeros((1, 1, 9))
    kernel[0, 0, 0], kernel[0, 0, 8] = 1, -1
    proofs.assert_lemma(kernel, seed=0, points=1000)
    honest = Spectrum.threshold

    def planted(spectrum: Spectrum, level: float, reach: float) -> float:
        return honest(replace(spectrum, upper=min(level, spectrum.upper)), level, reach)

    monkeypatch.setattr(Spectrum, "threshold", planted)
    with pytest.raises(AssertionError, match="something higher"):
        proofs.assert_lemma(kernel, seed=0, points=1000)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.float32, torch.float64], ids=str)
def test_a_missing_rounding_margin(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Factorizations that run to their end although the matrix is singular, or slightly worse."""
    grams = [
        proofs.near_singular(p, dtype, seed, spectrum)
        for p in (4, 5)
        for seed in range(4)
        for spectrum in ("equal", "one top", "rank one")
    ]
    with mpmath.workdps(50):
        truths = [proofs.true_top(gram.numpy()) for gram in grams]
        tops = [math.nextafter(float(truth), 0) if float(truth) > truth else float(truth) for truth in truths]

    def suite() -> None:
        for gram, top in zip(grams, tops, strict=True):
            proofs.assert_nothing_false_is_proven(gram, top)

    suite()
    monkeypatch.setattr(matrix_norm, "cholesky_margin", lambda *_: 0.0)
    with pytest.raises(AssertionError, match="is called proven"):
        suite()


def test_grid_points_that_lose_the_nyquist_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the last axis, 0 .. (n - 1) // 2: without n / 2 where n is even."""
    honest_all, honest_points = grid_maximum._all_points, grid_maximum.points_in

    def without(
        found: tuple[torch.Tensor, torch.Tensor], grid: tuple[int, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kept = 2 * found[1][:, -1] != grid[-1]
        return found[0][kept], found[1][kept]

    monkeypatch.setattr(grid_maximum, "_all_points", lambda gram, grid: without(honest_all(gram, grid), grid))
    monkeypatch.setattr(
        grid_maximum, "points_in", lambda tiles, shape, grid: without(honest_points(tiles, shape, grid), grid)
    )
    coverage.assert_all_points((4, 5))
    with pytest.raises(AssertionError, match="points are missing"):
        coverage.assert_all_points((5, 4))
    with pytest.raises(AssertionError):
        coverage.assert_tiles_have_all_points(tiling((3, 3)), (5, 4), 1)


@pytest.mark.parametrize("k", [(2,), (3, 3), (2, 1, 3)], ids=str)
def test_tiles_that_lose_the_nyquist_column(k: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tiling.roots

    def planted(tiles: Tiling, device: torch.device) -> torch.Tensor:
        centres = honest(tiles, device)
        return centres[centres[:, tiles.active[0]] < 0.5 - 1e-9]

    monkeypatch.setattr(Tiling, "roots", planted)
    with pytest.raises(AssertionError, match="lie in no tile"):
        coverage.assert_roots_cover(tiling(k))
