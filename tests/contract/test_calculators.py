"""Every calculator that is listed keeps the contract of its kind, for every geometry."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from convsv_cli.calculators import CALCULATORS
from convsv_cli.calculators.calculator import Calculator
from convsv_cli.model.kernel import reduce_kernel
from convsv_cli.model.layer import Geometry
from convsv_cli.report import EXACT, UPPER
from tests.support import contract, oracles
from tests.support.geometry import Case, cases

every_calculator = pytest.mark.parametrize("calculator", CALCULATORS, ids=lambda c: c.method.name)
every_exact, every_upper = (
    pytest.mark.parametrize(
        "calculator", [c for c in CALCULATORS if c.method.kind == kind], ids=lambda c: c.method.name
    )
    for kind in (EXACT, UPPER)
)


def test_every_calculator_has_a_contract_and_a_name_of_its_own() -> None:
    assert {c.method.kind for c in CALCULATORS} <= contract.CHECKS.keys()
    assert len({c.method.name for c in CALCULATORS}) == len(CALCULATORS)


@every_calculator
@given(case=cases())
@settings(max_examples=400)
def test_each_keeps_the_contract_of_its_kind(calculator: Calculator, case: Case) -> None:
    contract.check(calculator, case)


@every_calculator
@given(case=cases())
@settings(max_examples=50)
def test_each_tells_how_much_work_it_is_from_shapes_alone(calculator: Calculator, case: Case) -> None:
    """Values do not enter, and all-zero weights are no less work."""
    zeros = replace(case, weight=np.zeros_like(case.weight))
    work = calculator.work(contract.problem(case))
    assert isinstance(work, int)
    assert work > 0
    assert work == calculator.work(contract.problem(zeros))


@every_exact
@given(case=cases())
@settings(max_examples=200)
def test_unfoldings_enclose_the_norm_from_both_sides(calculator: Calculator, case: Case) -> None:
    """`max |unfolding| <= exact <= sqrt(prod k) min |unfolding|`.

    Each unfolding of the reduced kernel is a submatrix of the circular layer as long as no two taps wrap
    around to one place, that is while the grid of frequencies has at least k points on each axis.
    """
    kernel = reduce_kernel(torch.from_numpy(case.weight), case.geometry)
    exact = contract.calculate(calculator, case).value
    norms = case.unfoldings().values()
    assert exact <= math.sqrt(math.prod(kernel.spatial)) * min(norms) * (1 + contract.DENSE_ROUNDING)
    fits = [n >= k for n, k in zip(kernel.grid(case.input_size), kernel.spatial, strict=True)]
    assert all(fits) == (not case.taps_meet())
    if all(fits):
        assert exact >= max(norms) * (1 - contract.TOLERANCE)


@every_exact
@given(case=cases(divided=False))
@settings(max_examples=150)
def test_exact_is_for_the_circular_size_that_it_names(calculator: Calculator, case: Case) -> None:
    """Where a stride does not divide the input, it is the dense norm at the next size that it does."""
    measured = contract.calculate(calculator, case)
    assert measured.size is not None
    kernel = reduce_kernel(torch.from_numpy(case.weight), case.geometry)
    assert measured.size == kernel.circular_size(case.input_size)
    moved = case.at(measured.size)
    assert moved.divided()
    contract.check(calculator, moved)
    assert contract.calculate(calculator, moved).enclosure == measured.enclosure


@every_upper
@given(case=cases(divided=False))
@settings(max_examples=150)
def test_bounds_hold_with_zero_padding_where_the_stride_does_not_divide(
    calculator: Calculator, case: Case
) -> None:
    bound = contract.calculate(calculator, case).value
    full = tuple(d * (k - 1) for d, k in zip(case.geometry.dilation, case.weight.shape[2:], strict=True)) * 2
    for padding in (case.geometry.padding, (0,) * len(full), full):
        assert bound >= oracles.spectral_norm(case.zero_padded(padding)) * (1 - contract.DENSE_ROUNDING)


@every_upper
@given(case=cases(divided=False))
@settings(max_examples=150)
def test_the_stride_1_bound_holds_for_circular_padding_at_every_size(
    calculator: Calculator, case: Case
) -> None:
    """With a stride that does not divide the size, the layer is a part of the stride-1 layer only.

    The strided bound may then be too small: see test_kernels.
    """
    ones = (1,) * len(case.input_size)
    stride_1 = replace(case, geometry=replace(case.geometry, stride=ones))
    bound = contract.calculate(calculator, stride_1).value
    assert bound >= oracles.spectral_norm(case.circular()) * (1 - contract.DENSE_ROUNDING)


@every_upper
@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-8, 0.0])
def test_power_iteration_is_not_what_gives_the_bound(calculator: Calculator, gap: float) -> None:
    """Singla & Feizi's repository prints 2.519 where the true R-bound is 2.531: power iteration ends below.

    Here R is a matrix whose two largest singular values are this close to each other.
    """
    case = layer_with_r(spectrum=np.array([1.0, 1.0 - gap, 1.0 - 2 * gap, 0.5]), c_out=2, c_in=2, k=(3, 3))
    truth = case.unfoldings()[frozenset({0})]
    parts = dict(contract.calculate(calculator, case).parts)
    assert parts["R"] >= 3 * truth
    if gap:
        assert power_iteration(oracles.unfolding(case.weight, frozenset({0})), steps=10) < truth
    contract.check(calculator, case)


def test_the_authors_kernel_shape_defeats_power_iteration() -> None:
    """64x3x7x7, as in the first layer of ResNet-18: ten steps do not reach the norm of R; the bound does."""
    weight = np.random.default_rng(0).standard_normal((64, 3, 7, 7))
    case = Case(weight=weight, geometry=Geometry(stride=(1, 1), dilation=(1, 1)), input_size=(7, 7))
    matrix = oracles.unfolding(weight, frozenset({0}))
    truth = oracles.spectral_norm(matrix)
    assert power_iteration(matrix, steps=10) < truth * (1 - contract.TOLERANCE)
    for calculator in (c for c in CALCULATORS if c.method.kind == UPPER):
        for label, part in contract.calculate(calculator, case).parts:
            assert label != "R" or part >= 7 * truth * (1 - contract.DENSE_ROUNDING)


def layer_with_r(*, spectrum: np.ndarray, c_out: int, c_in: int, k: tuple[int, int]) -> Case:
    """A 2-D layer of which the unfolding R, [c_out * k[0], c_in * k[1]], has these singular values."""
    generator = np.random.default_rng(1)
    left, _ = np.linalg.qr(generator.standard_normal((c_out * k[0], len(spectrum))))
    right, _ = np.linalg.qr(generator.standard_normal((c_in * k[1], len(spectrum))))
    blocks = (left * spectrum @ right.T).reshape(c_out, k[0], c_in, k[1])
    geometry = Geometry(stride=(1, 1), dilation=(1, 1), padding=(1, 0, 2, 1))
    return Case(weight=blocks.transpose(0, 2, 1, 3).copy(), geometry=geometry, input_size=(5, 4))


def power_iteration(matrix: np.ndarray, *, steps: int) -> float:
    """The estimate that is so often sold as the norm; never above it, and below it for a close pair."""
    v = np.random.default_rng(2).standard_normal(matrix.shape[1])
    for _ in range(steps):
        v = matrix.T @ (matrix @ v)
        v /= np.linalg.norm(v)
    return float(np.linalg.norm(matrix @ v))
