"""Norms on grids from all matrices at once: every point counts, and nothing is proven that is not true."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from convsv_cli.spectral import matrix_norm, whole_grid
from convsv_cli.spectral.norms import Norms
from tests.support import contract, oracles

SHAPES = [
    ((1, 1, 1, 2), (2,)),
    ((3, 2, 3, 5), (41,)),
    ((2, 4, 3, 3, 2), (3, 7)),
    ((1, 3, 5, 7, 7), (14, 15)),
    ((1, 9, 6, 3, 3), (6, 6)),
    ((2, 3, 3, 2, 3, 2), (2, 4, 5)),
    ((1, 2, 2, 3, 1), (8, 1)),
]


@pytest.mark.parametrize(("shape", "grid"), SHAPES, ids=str)
def test_norms_are_enclosed(shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    weight = np.random.default_rng(sum(shape)).standard_normal(shape) * 10.0 ** (10 * shape[1] - 20)
    assert whole_grid.is_worth_it(torch.from_numpy(weight), grid, math.inf)
    interval = Norms(torch.from_numpy(weight)).on_grid(grid)
    truth = max(oracles.grid_norm(block, grid) for block in weight)
    contract.assert_enclosed(interval.lower, truth, interval.upper)
    assert interval.upper <= interval.lower * (1 + 1e-11)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_the_one_point_that_is_largest_is_found_wherever_it_is(channels: int, sign: int) -> None:
    """Planted: |1 + sign exp(i (theta - phi))| is largest nowhere but at phi, and at its opposite."""
    grid = (6, 5)
    hidden = np.random.default_rng(channels).standard_normal((2, channels, channels, 2, 2)) * 0.01
    for place in np.ndindex(grid):
        angle = 2 * math.pi * (place[0] / grid[0] + place[1] / grid[1])
        turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        weight = hidden.copy()
        if channels == 1:
            weight[1, 0, 0, 0, 0], weight[1, 0, 0, 1, 1] = 1.0, sign
        else:
            weight[1, :2, :2, 0, 0], weight[1, :2, :2, 1, 1] = np.eye(2), sign * turned
        interval = Norms(torch.from_numpy(weight)).on_grid(grid)
        truth = max(oracles.grid_norm(block, grid) for block in weight)
        contract.assert_enclosed(interval.lower, truth, interval.upper)
        assert interval.upper <= interval.lower * (1 + 1e-11)


def test_a_poor_first_look_only_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(3).standard_normal((1, 5, 5, 3, 3))
    truth = oracles.grid_norm(weight[0], (9, 9))
    monkeypatch.setattr(whole_grid, "LOOKED_AT", 1)
    interval = Norms(torch.from_numpy(weight)).on_grid((9, 9))
    contract.assert_enclosed(interval.lower, truth, interval.upper)


@pytest.mark.parametrize("shape", [(2, 3, 2, 4), (1, 4, 5, 3, 5), (1, 2, 3, 2, 3, 2)], ids=str)
def test_all_matrices_are_within_their_error(shape: tuple[int, ...]) -> None:
    """Against symbols in extended precision, whose own rounding is far below."""
    weight = np.random.default_rng(1).standard_normal(shape)
    weight /= np.linalg.norm(weight)
    grid = tuple(range(5, 5 + weight.ndim - 3))
    matrices, error = whole_grid.gram_matrices(torch.from_numpy(weight), grid)
    wide = weight if shape[1] <= shape[2] else weight.swapaxes(1, 2)
    half = (*grid[:-1], grid[-1] // 2 + 1)
    expected = []
    for block in wide.astype(np.longdouble):
        for index in np.ndindex(half):
            symbol = np.zeros(block.shape[:2], np.clongdouble)
            for tap in np.ndindex(block.shape[2:]):
                turn = sum(np.longdouble(i * t % n) / n for i, t, n in zip(index, tap, grid, strict=True))
                symbol += block[(..., *tap)] * np.exp(-2j * np.arccos(np.longdouble(-1)) * turn)
            expected.append(symbol @ symbol.conj().T)
    assert matrices.shape == (len(expected), *wide.shape[1:2] * 2)
    distances = matrices.numpy() - np.array(expected)
    assert max(np.linalg.norm(distance.astype(complex)) for distance in distances) <= error < 1e-12


@pytest.mark.parametrize("p", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_many_small_matrices_are_each_judged_by_themselves(p: int, dtype: torch.dtype) -> None:
    """Entry by entry, the levels just above and below each one's largest eigenvalue."""
    generator = torch.Generator().manual_seed(p)
    factors = torch.randn(2000, p, p, dtype=dtype, generator=generator)
    matrices = factors @ factors.mH
    tops = torch.linalg.eigvalsh(matrices.to(torch.complex128 if dtype.is_complex else torch.float64))[:, -1]
    matrices = matrices / tops[:, None, None].to(dtype)
    tops = torch.linalg.eigvalsh(matrices.to(torch.complex128 if dtype.is_complex else torch.float64))[:, -1]
    margin = matrix_norm.cholesky_margin(p, dtype)
    assert len(matrices) >= matrix_norm.MANY
    assert p <= matrix_norm.SMALLEST_SIDE
    steps = torch.linspace(-20, 20, 41, dtype=torch.float64) * margin
    for step in steps.tolist():
        proven = matrix_norm.proven_below(matrices.clone(), 1 + step)
        assert not (proven & (tops >= 1 + step + 1e-14)).any(), "something false is proven"
        assert proven[tops < 1 + step - 3 * margin].all(), "next to nothing is proven"
