"""Symbols that are nearly as large everywhere: proofs by panels in single precision, and what tiles prove."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convsv_cli import limits
from convsv_cli.spectral.gram_symbol import gram_symbol
from convsv_cli.spectral.lower_half import lower_half
from convsv_cli.spectral.norms import Norms

PRECISIONS = [torch.float32, torch.float64]


def orthogonal(channels: int, disturbance: float, seed: int = 0) -> np.ndarray:
    """3 x 3, of which all singular values are 1 but for a disturbance: products of projections and shifts."""
    generator = np.random.default_rng(seed)
    weight = np.linalg.qr(generator.standard_normal((channels, channels)))[0][:, :, None, None]
    for axis in (2, 3, 2, 3):
        basis = np.linalg.qr(generator.standard_normal((channels, channels // 2)))[0]
        projection = basis @ basis.T
        here, there = (
            np.pad(weight, [(0, 0)] * axis + [pad] + [(0, 0)] * (3 - axis)) for pad in ((1, 0), (0, 1))
        )
        rest = np.eye(channels) - projection
        weight = np.einsum("ab,bcij->acij", projection, here) + np.einsum("ab,bcij->acij", rest, there)
    return weight + disturbance * generator.standard_normal(weight.shape)


def gaussian(c_out: int, c_in: int, *k: int, seed: int = 0) -> np.ndarray:
    shape = (c_out, c_in, *k)
    return np.random.default_rng(seed).standard_normal(shape) / np.sqrt(c_in * np.prod(k))


def ridges(channels: int, k: int) -> np.ndarray:
    """Two taps in each channel, as far apart as the lemma knows of: |G|^2 = 4 cos^2 or 4 sin^2 of it."""
    weight = np.zeros((channels, channels, k, k))
    for channel in range(channels):
        first, second = ((0, 0), (k - 1, k - 1)) if channel % 2 else ((0, k - 1), (k - 1, 0))
        size = 1 - 1e-3 * channel
        weight[(channel, channel, *first)] = size
        weight[(channel, channel, *second)] = size * (-1) ** (channel // 2)
    return weight


def grams(kernel: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """H by its definition on the smaller side, in double precision: [n, p, p]."""
    taps = np.indices(kernel.shape[2:]).reshape(kernel.ndim - 2, -1)
    symbols = np.einsum(
        "nt,abt->nab", np.exp(-2j * np.pi * turns @ taps), kernel.reshape(*kernel.shape[:2], -1)
    )
    if kernel.shape[0] > kernel.shape[1]:
        symbols = symbols.transpose(0, 2, 1)
    return symbols @ symbols.conj().transpose(0, 2, 1)


KERNELS = {
    "random": gaussian(40, 70, 3, 3),
    "one panel and a column": gaussian(50, 33, 1, 7),
    "volume": gaussian(36, 36, 2, 2, 2),
    "orthogonal": orthogonal(64, 0.0),
    "nearly orthogonal": orthogonal(64, 1e-3),
    "large": 2.0**300 * gaussian(40, 40, 3),
    "small": 2.0**-300 * gaussian(40, 40, 3),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_panels_prove_what_is_true_and_little_less(name: str, precision: torch.dtype) -> None:
    """Against LAPACK's eigenvalues, at levels around the largest and, of -H, the smallest one."""
    kernel = KERNELS[name] / np.linalg.norm(KERNELS[name])
    turns = np.random.default_rng(1).uniform(size=(4, kernel.ndim - 2))
    values = np.linalg.eigvalsh(grams(kernel, turns))
    half = lower_half(gram_symbol(torch.from_numpy(kernel)[None]), precision)
    for sign, truth in ((half, values[:, -1]), (half.negative, -values[:, 0])):
        for at, true in zip(torch.from_numpy(turns), truth.tolist(), strict=True):
            off = 1e-13 * values.max()
            assert not any(sign.below(at[None], true - step - off).any() for step in (0.0, 1e-9, 1e-3))
            assert sign.below(at[None], true + 2 * sign.margin(true) + 1e-9 * values.max()).all()


@pytest.mark.parametrize(
    ("kernel", "truth"),
    [
        (ridges(40, 3), 2.0),
        (ridges(34, 2), 2.0),
        (orthogonal(40, 0.0), 1.0),
        (orthogonal(40, 1e-4), None),
        (gaussian(40, 40, 3, 3), None),
        (gaussian(36, 80, 2, 3), None),
        (gaussian(34, 34, 1, 5), None),
        (gaussian(34, 34, 2, 2, 2), None),
    ],
    ids=lambda value: None if value is None or isinstance(value, float) else "x".join(map(str, value.shape)),
)
def test_suprema_of_flat_symbols(kernel: np.ndarray, truth: float | None) -> None:
    """Above all of a grid's values that no tile has its centre at, and as narrow as asked for."""
    interval = Norms(torch.from_numpy(kernel)[None]).supremum(tolerance=1e-3)
    if truth is None:
        grid = np.indices((5,) * (kernel.ndim - 2)).reshape(kernel.ndim - 2, -1).T
        truth = float(np.sqrt(np.linalg.eigvalsh(grams(kernel, (grid + 0.37) / 5))[:, -1].max()))
    else:
        assert interval.lower <= truth
    assert truth <= interval.upper * (1 + 1e-12)
    assert interval.upper <= interval.lower * (1 + 1.1e-3)


def test_a_search_ends_with_what_its_tiles_prove() -> None:
    """Unfoldings prove 1.7 times the norm of a random kernel; some dozens of factorizations much less."""
    kernel, side = torch.from_numpy(gaussian(64, 64, 3, 3)[None]), 64
    exact = Norms(kernel).supremum(tolerance=1e-3)
    for tests in (60, 120, 400):
        limit = tests * side**2 * (side / 3 + 25)
        interval = Norms(kernel).supremum(tolerance=1e-6, limit=limit)
        assert exact.lower <= interval.upper <= exact.upper * (1 + 20 / tests)
        assert interval.lower <= exact.upper
    wide = []
    for steps in (1e7, 2e7, 5e7):  # which the model may take
        with limits.granting(steps=steps), limits.allowing():
            norms = Norms(kernel)
            interval = norms.supremum(tolerance=1e-4)
            wide.append(interval.upper > interval.lower * (1 + 2e-4))
            assert wide[-1] == limits.refused() == any("--step-limit" in note for note in norms.notes)
    assert wide == [True, True, False]
