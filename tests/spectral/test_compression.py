"""Proofs in few directions, and norms on grids by them, against NumPy, with values beside the level."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from convsv_cli.spectral import (
    compressed_grid,
    compressed_supremum,
    compressed_waves,
    compression,
    norms,
    whole_grid,
)
from convsv_cli.spectral.gram_symbol import gram_symbol
from convsv_cli.spectral.norms import Norms
from convsv_cli.spectral.tiles import tiling
from tests.support import contract, oracles

P = compression.LEAST


def decaying(k: tuple[int, ...], q: int = P + 3, *, decay: float = 0.2, seed: int = 0) -> np.ndarray:
    """[P, q, *k] whose directions on either side count less and less, as those of trained kernels."""
    random = np.random.default_rng(seed)
    left, right = (np.linalg.qr(random.standard_normal((n, n)))[0] for n in (P, q))
    sizes = np.exp(-decay * np.arange(P))[:, None, None] * np.exp(-decay * np.arange(q))[:, None]
    core = random.standard_normal((P, q, math.prod(k))) * np.sqrt(sizes)
    weight = np.einsum("ab,bct,cd->adt", left, core, right).reshape(P, q, *k)
    return weight / np.linalg.norm(weight)


def taps_of(weight: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(weight, (0, 1), (-2, -1)).copy())


def compressed(weight: np.ndarray) -> compression.Compression:
    few = compression.compression(taps_of(weight))
    assert few is not None
    return few


def symbols(weight: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """By the definition: [n, P, q]."""
    places = np.array(list(itertools.product(*map(range, weight.shape[2:]))))
    phases = np.exp(-2j * math.pi * turns @ places.T)
    return np.einsum("nt,pqt->npq", phases, weight.reshape(*weight.shape[:2], -1))


@pytest.mark.parametrize("k", [(3, 3), (4,), (2, 1, 3)], ids=str)
def test_only_true_statements_are_proven_and_nearly_all_of_those(k: tuple[int, ...]) -> None:
    """Levels from well below to well above, one for each frequency, beside its own largest eigenvalue."""
    weight = decaying(k)
    few = compressed(weight)
    turns = np.random.default_rng(1).uniform(-0.5, 1.5, (40, len(k)))
    tops = np.linalg.norm(symbols(weight, turns), 2, axis=(1, 2)) ** 2
    high = tops > 0.5 * tops.max()
    assert high.sum() > 5
    for x, top in zip(torch.from_numpy(turns[high]), tops[high].tolist(), strict=True):
        for share in compressed_grid.OF_ALL + compressed_grid.LAST:
            for step in (-0.3, -1e-3, -1e-6, -1e-9):
                assert not few.below(x[None], top * (1 + step), (share,)).any(), "something false is proven"
        assert few.below(x[None], top * 1.02, compressed_grid.LAST).all(), "next to nothing is proven"


def test_the_majorant_is_above_in_every_direction_that_is_left_out() -> None:
    weight = decaying((3, 3), decay=0.1)
    few = compressed(weight)
    basis, majorant = few.basis.numpy(), few.majorant.numpy()
    assert np.abs(basis.T @ basis - np.eye(P)).max() <= few.skew
    for symbol in symbols(weight, np.random.default_rng(2).uniform(0, 1, (30, 2))):
        gram = basis.T @ symbol @ symbol.conj().T @ basis
        for k in (0, 8, 24):
            assert np.linalg.eigvalsh(np.diag(majorant[k:]) - gram[k:, k:])[0] >= 0


def test_compressed_rows_are_those_of_the_symbol() -> None:
    weight = decaying((2, 3))
    few = compressed(weight)
    level = float(np.linalg.norm(symbols(weight, np.zeros((1, 2)))[0], 2) ** 2)
    turns = torch.rand((7, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = gram_symbol(torch.from_numpy(weight)[None])
    expected = whole.at(torch.zeros(7, dtype=torch.int64), turns, torch.complex128)
    heads = few.heads(turns, level)
    basis = few.basis[:, : heads.shape[-1]].to(torch.complex128)
    assert (heads - basis.mH @ expected @ basis).abs().max() < 1e-5


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize(
    ("k", "grid"), [((3, 3), (9, 14)), ((3, 3), (40, 41)), ((5,), (700,)), ((2, 2, 2), (12, 5, 16))], ids=str
)
def test_norms_on_grids(k: tuple[int, ...], grid: tuple[int, ...], seed: int) -> None:
    weight = decaying(k, seed=seed)
    found = compressed_grid.compressed_grid(torch.from_numpy(weight)[None], tiling(k), grid)
    assert found is not None, "left to a search"
    truth = grid_norm(weight, grid)
    interval = Norms(torch.from_numpy(weight * 1e30)[None]).on_grid(grid)
    contract.assert_enclosed(interval.lower, truth * 1e30, interval.upper)
    assert interval.upper <= interval.lower * (1 + 1e-10)
    assert math.sqrt(found[0]) * 1e30 == pytest.approx(interval.upper, rel=1e-10)


def grid_norm(weight: np.ndarray, grid: tuple[int, ...]) -> float:
    """The largest singular value of all symbols, as numpy's FFT finds them."""
    found = np.fft.rfftn(weight, grid, tuple(range(2, weight.ndim)))
    found = np.moveaxis(found, (0, 1), (-2, -1)).reshape(-1, *weight.shape[:2])
    return math.sqrt(np.linalg.eigvalsh(found @ found.conj().swapaxes(1, 2)).max())


def test_two_points_that_nearly_tie_are_told_apart() -> None:
    """Planted: waves of the same size in two directions, one of them larger by a billionth."""
    grid, base = (32, 40), 0.01 * decaying((2, 2), q=P)
    for first, second in (((3, 5), (20, 7)), ((0, 0), (16, 20)), ((31, 39), (1, 39))):
        for order in (1, -1):
            weight = base.copy()
            for channel, (place, size) in enumerate(
                zip((first, second)[::order], (1.0, 1 + 1e-9), strict=True)
            ):
                angle = 2 * math.pi * np.array(place) / grid
                rows = slice(2 * channel, 2 * channel + 2)
                for tap in np.ndindex(2, 2):
                    turn = float(np.array(tap) @ angle)
                    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
                    weight[(rows, rows, *tap)] += size * rotation
            index = torch.tensor([first, second][::order])
            truth = np.linalg.norm(symbols(weight, index.numpy() / grid), 2, axis=(1, 2)).max()
            interval = Norms(torch.from_numpy(weight)[None]).on_grid(grid)
            contract.assert_enclosed(interval.lower, truth, interval.upper)
            assert interval.upper <= interval.lower * (1 + 1e-10)


def test_a_kernel_may_take_the_vector_of_a_neighbour_to_zero() -> None:
    """Each of nine channels has its summit elsewhere, and nothing there of the others' vectors."""
    filters, weight = ([0.5, 0.5, 0], [0.5, -0.5, 0], [0.5, 0, -0.5]), np.zeros((P, P, 3, 3))
    weight[range(P), range(P), 0, 0] = 0.01 * (0.5 + np.arange(P) / P)
    for channel, (first, second) in enumerate(itertools.product(filters, filters)):
        weight[channel, channel] = np.outer(first, second)
    weight[0, 0] *= 1 + 1e-9
    interval = Norms(torch.from_numpy(weight)[None]).on_grid((32, 32))
    contract.assert_enclosed(interval.lower, 1 + 1e-9, interval.upper)
    assert interval.upper <= interval.lower * (1 + 1e-10)


def test_what_does_not_decay_is_left_to_a_search() -> None:
    weight = np.random.default_rng(0).standard_normal((1, P, P, 3, 3))
    weight /= np.linalg.norm(weight)
    assert compressed_grid.compressed_grid(torch.from_numpy(weight), tiling((3, 3)), (9, 9)) is None


@pytest.mark.parametrize("seed", range(20))
def test_the_tile_of_the_largest_point_holds_the_least_share(seed: int) -> None:
    """Without a supremum; two taps, as far apart as the kernel is long, are where the lemma is sharp."""
    random = np.random.default_rng(seed)
    k = int(random.integers(2, 6))
    kernel = (
        random.standard_normal(k)
        if seed % 2
        else np.eye(1, k)[0] + np.eye(1, k, k - 1)[0] * random.choice([1, -1])
    )
    n = int(random.integers(2 * k, 12 * k))
    degree = (k - 1) / 2

    def height(theta: np.ndarray) -> np.ndarray:
        return np.abs(np.exp(-1j * np.outer(theta, np.arange(k))) @ kernel) ** 2

    points = 2 * math.pi * np.arange(n) / n
    best = points[height(points).argmax()]
    offsets = np.linspace(-1, 1, 201) * min(math.pi / n * 3, 1 / degree)
    shares = [compressed_grid.least_share(degree * abs(x), math.pi * degree / n) for x in offsets]
    assert (height(best + offsets) >= height(points).max() * (np.array(shares) - 1e-9)).all()


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """No grid is so small that all its matrices are computed."""
    monkeypatch.setattr(whole_grid, "WORTH", 0.0)


def test_channels_that_are_nothing_beside_others_end_no_audit() -> None:
    """LAPACK gives up on eigenvalues of matrices in float32 with entries below all normal numbers."""
    for seed in (30, 41):
        random = np.random.default_rng(seed)
        p, q = (int(random.integers(48, 90)) for _ in range(2))
        last = int(random.choice([1, 2, 3]))
        weight = random.standard_normal((p, q, 3, last)) * 10.0 ** random.uniform(-18, 18, (p, 1, 1, 1))
        found = Norms(torch.from_numpy(weight)[None]).on_grid((40, 40))
        rows = np.sqrt((weight**2).sum((1, 2, 3)))
        assert 0.5 * rows.max() <= found.lower <= found.upper <= found.lower * (1 + 1e-8)


def test_directions_that_are_added_are_left_out_of_nothing() -> None:
    """Of the rest, the majorant is above in every direction, and H has nothing to do with an eigenvector."""
    weight = decaying((3, 3), decay=0.1)
    few, turns = compressed(weight), np.array([[0.2, 0.7]])
    gram = symbols(weight, turns)[0] @ symbols(weight, turns)[0].conj().T
    top, vector = np.linalg.eigh(gram)[0][-1], np.linalg.eigh(gram)[1][:, -1]
    near = compressed_supremum.around(few, torch.from_numpy(vector)[None], float(top))
    assert near is not None
    basis, majorant = near.basis.numpy(), near.majorant.numpy()
    assert np.abs(basis.T @ basis - np.eye(P)).max() <= near.skew < 1e-5
    k = int(np.isinf(majorant).sum())
    assert np.abs(basis[:, k:].T @ vector).max() < 1e-3
    for symbol in symbols(weight, np.random.default_rng(2).uniform(0, 1, (30, 2))):
        rest = basis[:, k:].T @ symbol
        assert np.linalg.eigvalsh(np.diag(majorant[k:]) - rest @ rest.conj().T)[0] >= 0
    for dtype, step in ((torch.float32, 2e-3), (torch.float64, 1e-5)):
        proven = [near.below(torch.from_numpy(turns), top * (1 + s), (0.75,), dtype) for s in (-1e-9, step)]
        assert [bool(each) for each in proven] == [False, True]


@pytest.mark.parametrize("k", [(3, 3), (4,)], ids=str)
def test_suprema(k: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "supremum", None)  # no search in all directions follows
    weight = decaying(k, seed=3)
    attained = oracles.supremum(weight) * 1e-30
    for tolerance in (1e-2, 1e-4):
        interval = Norms(torch.from_numpy(weight * 1e-30)[None]).supremum(tolerance=tolerance)
        contract.assert_enclosed(0.0, attained, interval.upper)
        assert interval.lower <= attained * (1 + contract.CLIMBED)
        assert interval.upper <= interval.lower * (1 + tolerance)


def test_the_higher_of_two_summits_is_found_from_the_lower_one() -> None:
    """Planted: waves in two directions, of which a search begins at either."""
    base = 0.01 * decaying((3, 3), q=P)
    for order in (1, -1):
        weight = base.copy()
        sizes, places = (1.0, 1.003), ((0.11, 0.3), (0.42, 0.77))
        for channel, size, place in zip(range(0, 8, 2), sizes, places[::order], strict=False):
            for tap in np.ndindex(3, 3):
                angle = 2 * math.pi * float(np.array(tap) @ place)
                turned = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
                weight[(slice(channel, channel + 2), slice(channel, channel + 2), *tap)] += size * np.array(
                    turned
                )
        scaled = torch.from_numpy(weight / 20)[None]
        few = compressed_waves.compressed(scaled)
        assert few is not None
        vector = np.linalg.svd(symbols(weight, np.array([places[::order][0]]))[0])[0][:, 0]
        found = compressed_supremum.compressed_supremum(
            scaled,
            few,
            tiling((3, 3)),
            tolerance=1e-4,
            purse=compressed_waves.Purse(),
            start=(torch.tensor(places[::order][0], dtype=torch.float64), torch.from_numpy(vector)),
        )
        assert found is not None
        attained = oracles.supremum(weight) ** 2 / 400
        assert attained * (1 - 1e-12) <= found.spectrum.upper <= attained * (1 + 1.1e-4)


def test_a_purse_that_is_empty_leaves_it_to_a_search() -> None:
    weight = torch.from_numpy(decaying((3, 3)))[None]
    few = compressed_waves.compressed(weight)
    assert few is not None
    for most in (0, 1e5):
        purse = compressed_waves.Purse(most)
        assert not compressed_supremum.compressed_supremum(
            weight, few, tiling((3, 3)), tolerance=1e-4, purse=purse
        )
        assert purse.taken <= most
    assert Norms(weight).supremum(tolerance=1e-4, limit=1e5).upper >= Norms(weight).supremum().lower


def test_a_kernel_of_one_tap_has_no_directions_of_a_symbol() -> None:
    """It is a matrix, whose waves are all alike: strided layers of it are padded, too."""
    weight = torch.from_numpy(decaying((1, 1)))[None]
    wave = Norms(weight).wave()
    assert float(torch.linalg.vector_norm(wave.left)) > 0
    assert not compression.is_compressible(weight)


def test_a_tap_next_to_nothing_leaves_no_majorant_in_single_precision() -> None:
    random = np.random.default_rng(0)
    sizes = np.exp(-0.1 * np.arange(100))
    taps = random.standard_normal((5, 5, 100, 100)) * sizes[:, None] * sizes
    taps[0, 0] *= 1e-80
    taps = torch.from_numpy(taps / np.linalg.norm(taps))
    assert taps.numel() * 100 > compression.COSTLY
    assert compression.compression(taps) is None
    taps[0, 0] = 0.0
    assert compression.compression(taps) is not None
