"""The search over frequencies: its tiles cover the torus, its results enclose, and its limits are honest."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli.calculators import CALCULATORS
from convsv_cli.report import CERTIFIED, EXACT, PADDED, Interval
from convsv_cli.spectral import grid_maximum, whole_grid
from convsv_cli.spectral.norms import Norms
from convsv_cli.spectral.tiles import Tiles, Tiling, root_tiles, tiling
from tests.support import contract, coverage, oracles
from tests.support.geometry import Case, cases

LIMITS = (0, 1, 1e3, 1e6, math.inf)
KERNEL_SIZES = [(2,), (9,), (3, 3), (1, 4), (4, 1), (2, 5), (3, 3, 3), (2, 1, 3), (1, 1, 2), (2, 3, 4)]


@pytest.fixture(autouse=True)
def searching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids of small matrices would be computed whole, with no search."""
    monkeypatch.setattr(whole_grid, "WORTH", 0.0)


every_size = pytest.mark.parametrize("k", KERNEL_SIZES, ids=str)


# --- tiles ----------------------------------------------------------------------------------------


@every_size
def test_every_frequency_or_its_opposite_lies_in_a_tile(k: tuple[int, ...]) -> None:
    coverage.assert_roots_cover(tiling(k))


@every_size
def test_and_in_no_more_than_tiles_need_to_cover_half_the_torus(k: tuple[int, ...]) -> None:
    """The tiles of one of each pair: half of the torus, and what tiles on the line between them overlap."""
    tiles = tiling(k)
    covered = len(tiles.roots(torch.device("cpu"))) * tiles.volume(1.0)
    rows = max((count for count in tiles.counts if count), default=1)
    assert 0.5 <= covered <= 0.5 * (1 + 4 / rows) + 0.5


@every_size
@pytest.mark.parametrize("rho", [1.0, 0.5, 2.0**-20])
def test_halves_cover_their_tile_and_nothing_else(k: tuple[int, ...], rho: float) -> None:
    tiles = tiling(k)
    centre = torch.tensor([[0.3, 0.6, 0.1][: len(k)]], dtype=torch.float64)
    children = tiles.children(centre, rho)[0]
    assert len(children) == tiles.halves
    offsets = points_of(tiles, rho, count=2000)
    inside = [tiles.contains(centre + offsets - child, rho / 2) for child in children]
    counts = torch.stack(inside).sum(0)
    assert (counts >= 1).all()
    if tiles.active:
        assert (counts > 1).double().mean() < 0.01, "halves overlap in more than their edges"


def points_of(tiles: Tiling, rho: float, count: int) -> torch.Tensor:
    """Offsets of random points of a tile from its centre, in turns; some of them on its edge."""
    generator = torch.Generator().manual_seed(0)
    box = torch.tensor([rho / n if n else 0.5 for n in tiles.counts], dtype=torch.float64)
    offsets = (2 * torch.rand((20 * count, len(box)), generator=generator).double() - 1) * box
    offsets = offsets[tiles.contains(offsets, rho)][:count]
    assert len(offsets) >= count // 2
    return offsets


@every_size
@pytest.mark.parametrize("rho", [1.0, 0.25, 2.0**-30])
def test_no_point_of_a_tile_is_beyond_its_reach_and_some_attain_it(k: tuple[int, ...], rho: float) -> None:
    tiles = tiling(k)
    degrees = torch.tensor([(size - 1) / 2 for size in k], dtype=torch.float64)
    distances = 2 * math.pi * (points_of(tiles, rho, 20000).abs() @ degrees)
    radius = tiles.radius(rho)
    assert (distances <= radius).all()
    assert distances.max() >= 0.6 * radius - 1e-11
    assert tiles.radius(rho / 2) == pytest.approx(radius / 2, rel=1e-9, abs=1e-11)


@every_size
def test_roots_are_small_enough_for_the_lemma(k: tuple[int, ...]) -> None:
    assert tiling(k).radius(1.0) < math.pi / 4 + 0.02


@pytest.mark.parametrize("blocks", [1, 3])
@every_size
def test_every_block_has_all_tiles(k: tuple[int, ...], blocks: int) -> None:
    tiles = root_tiles(tiling(k), blocks, torch.device("cpu"))
    each = len(tiling(k).roots(torch.device("cpu")))
    assert torch.equal(tiles.block.bincount(), torch.full((blocks,), each))
    halves = tiles.split(tiling(k))
    assert len(halves) == len(tiles) * tiling(k).halves
    assert torch.equal(halves.block.bincount(), torch.full((blocks,), each * tiling(k).halves))


GRIDS = [(1,), (2,), (3,), (8,), (9,), (64,), (4, 4), (5, 4), (4, 5), (7, 9), (8, 2), (4, 4, 4), (3, 4, 5)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_all_points_of_small_grids_are_looked_at(grid: tuple[int, ...]) -> None:
    coverage.assert_all_points(grid)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_tiles_find_all_their_grid_points(grid: tuple[int, ...], depth: int) -> None:
    """Between them, the tiles of a level have every grid point or its opposite, Nyquist's among them."""
    for k in (k for k in KERNEL_SIZES if len(k) == len(grid)):
        usable = tuple(n if size > 1 else 1 for n, size in zip(grid, k, strict=True))
        coverage.assert_tiles_have_all_points(tiling(k), usable, depth)


@given(st.data())
@settings(max_examples=100)
def test_tiles_find_the_points_that_they_contain_and_no_others(data: st.DataObject) -> None:
    axes = data.draw(st.integers(1, 3))
    k = tuple(data.draw(st.integers(2, 5)) for _ in range(axes))
    grid = tuple(data.draw(st.integers(1, (200, 24, 9)[axes - 1])) for _ in range(axes))
    tiles, rho = tiling(k), 2.0 ** -data.draw(st.integers(0, 4))
    turns = st.floats(-0.5, 1.5, allow_subnormal=False)
    centre = torch.tensor([[data.draw(turns) for _ in range(axes)]], dtype=torch.float64)
    one = Tiles(block=torch.tensor([0]), centre=centre, estimate=torch.zeros(1), rho=rho)
    found = {coverage.first(tuple(row), grid) for row in grid_maximum.points_in(one, tiles, grid)[1].tolist()}
    everything = np.array(list(product(*map(range, grid))))
    offsets = everything / np.array(grid) - centre.numpy()
    offsets -= np.round(offsets)
    inside = tiles.contains(torch.from_numpy(offsets), rho * (1 - 1e-5)).numpy()
    within = tiles.contains(torch.from_numpy(offsets), rho * (1 + 1e-5)).numpy()
    assert {coverage.first(tuple(p), grid) for p in everything[inside].tolist()} <= found
    assert found <= {coverage.first(tuple(p), grid) for p in everything[within].tolist()}


# --- suprema and grids ----------------------------------------------------------------------------


def kernel(seed: int, blocks: int, k: tuple[int, ...], *, level: bool = False) -> np.ndarray:
    """[blocks, 2, 3, *k]; with the supremum of each block at 1 where `level`."""
    weight = np.random.default_rng(seed).standard_normal((blocks, 2, 3, *k))
    if level:
        weight /= np.array([oracles.supremum(block) for block in weight]).reshape(
            -1, *[1] * (weight.ndim - 1)
        )
    return weight


def assert_encloses(interval: Interval, truth: float, width: float) -> None:
    contract.assert_enclosed(interval.lower, truth, interval.upper)
    assert interval.upper <= interval.lower * (1 + width)


@pytest.mark.parametrize("level", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("k", "grid"),
    [
        ((5,), (1025,)),
        ((9,), (1100,)),
        ((3, 3), (33, 33)),
        ((5, 4), (64, 33)),
        ((7, 2), (32, 40)),
        ((3, 3), (1030, 3)),
        ((3, 2, 2), (11, 12, 13)),
        ((2, 2, 2), (2, 2, 400)),
    ],
    ids=str,
)
def test_norms_on_grids_that_are_searched(
    k: tuple[int, ...], grid: tuple[int, ...], seed: int, *, level: bool
) -> None:
    """Beyond the grids whose points are looked at one by one; with tied suprema the grid decides."""
    assert not grid_maximum.is_small(grid)
    weight = kernel(seed, 3, k, level=level)
    truth = max(oracles.grid_norm(block, grid) for block in weight)
    assert_encloses(Norms(torch.from_numpy(weight)).on_grid(grid), truth, 1e-9)


@pytest.mark.parametrize("n", [32, 33, 34, 41])
@pytest.mark.parametrize("lag", [2, 5, 8])
def test_norms_on_grids_where_the_lemma_is_sharp(n: int, lag: int) -> None:
    """Two taps: ridges of equal height, of which the grid meets none but in few places."""
    weight = np.zeros((2, 1, 1, lag + 1, lag + 1))
    weight[0, 0, 0, 0, 0], weight[0, 0, 0, lag, lag] = 1, -1
    weight[1, 0, 0, 0, lag], weight[1, 0, 0, lag, 0] = 0.99, -0.99
    truth = max(oracles.grid_norm(block, (n, n)) for block in weight)
    assert_encloses(Norms(torch.from_numpy(weight)).on_grid((n, n)), truth, 1e-9)


@pytest.mark.parametrize("n", [1026, 1028, 2048, 4096])
def test_the_nyquist_frequency_of_large_grids(n: int) -> None:
    weight = torch.tensor([[[[1.0, -1.0, 1.0]]]], dtype=torch.float64)
    assert_encloses(Norms(weight).on_grid((n,)), 3.0, 1e-9)


@pytest.mark.parametrize("channels", [2, 7])
@pytest.mark.parametrize("disturbance", [0.0, 1e-9, 1e-3])
def test_flat_symbols(channels: int, disturbance: float) -> None:
    """Products of projections and shifts: orthogonal convolutions, whose singular values are all 1."""
    generator = np.random.default_rng(channels)
    weight = np.eye(channels)[:, :, None, None]
    for axis in (2, 3, 2, 3):
        basis, _ = np.linalg.qr(generator.standard_normal((channels, channels // 2)))
        projection = basis @ basis.T
        here, there = (
            np.pad(weight, [(0, 0)] * axis + [pad] + [(0, 0)] * (3 - axis)) for pad in ((1, 0), (0, 1))
        )
        rest = np.eye(channels) - projection
        weight = np.einsum("ab,bcij->acij", projection, here) + np.einsum("ab,bcij->acij", rest, there)
    assert weight.shape[2:] == (3, 3)
    weight = weight + disturbance * generator.standard_normal(weight.shape)
    interval = Norms(torch.from_numpy(weight[None])).supremum(tolerance=1e-5)
    attained = oracles.supremum(weight)
    assert_encloses(interval, attained, 2e-5)
    if disturbance < 1e-8:
        assert interval.upper - 1 <= 1e-6


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6, 1e-9, 1e-12])
def test_suprema_are_as_narrow_as_asked_for_or_as_rounding_allows(tolerance: float) -> None:
    weight = kernel(5, 2, (3, 4))
    interval = Norms(torch.from_numpy(weight)).supremum(tolerance=tolerance)
    attained = max(map(oracles.supremum, weight))
    contract.assert_enclosed(0.0, attained, interval.upper)
    assert interval.lower <= attained * (1 + contract.CLIMBED)
    assert interval.upper <= interval.lower * (1 + max(tolerance, 1e-10))


# --- limits ---------------------------------------------------------------------------------------

LIMITED = [c for c in CALCULATORS if c.method.kind in (CERTIFIED, EXACT, PADDED)]


@pytest.mark.parametrize("calculator", LIMITED, ids=lambda c: c.method.name)
@given(case=cases(), tolerance=st.sampled_from((1e-2, 1e-4, 1e-7)))
@settings(max_examples=30)
def test_every_work_limit_gives_a_true_interval(calculator, case: Case, tolerance: float) -> None:
    tolerance = max(tolerance, 1e-4) if len(case.input_size) == 3 else tolerance
    for limit in LIMITS:
        if calculator.method.kind == PADDED and not case.input_size:
            continue
        problem = contract.problem(case, tolerance=tolerance, work_limit=limit)
        enclosure = calculator.calculate(problem).enclosure
        contract.assert_truth_of_kind(calculator.method.kind, enclosure, case)


@pytest.mark.parametrize("k", [(9,), (3, 3), (5, 5), (3, 3, 2)], ids=str)
def test_the_less_work_the_wider(k: tuple[int, ...]) -> None:
    weight = kernel(1, 2, k)
    widths = []
    for limit in LIMITS:
        norms = Norms(torch.from_numpy(weight))
        interval = norms.supremum(tolerance=1e-6, limit=limit)
        attained = max(map(oracles.supremum, weight))
        assert interval.lower <= attained * (1 + contract.CLIMBED)
        assert interval.upper >= attained * (1 - contract.DENSE_ROUNDING)
        widths.append(interval.upper / interval.lower - 1)
    assert widths[0] > 1e-3
    assert widths[-1] <= 1e-6
    assert all(later <= before * (1 + 1e-9) + 1e-9 for before, later in pairwise(widths))


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("grid", [(33, 33), (64, 40), (5, 6)], ids=str)
def test_grids_are_enclosed_at_every_limit(limit: float, grid: tuple[int, ...]) -> None:
    weight = kernel(2, 2, (3, 4), level=True)
    truth = max(oracles.grid_norm(block, grid) for block in weight)
    interval = Norms(torch.from_numpy(weight)).on_grid(grid, limit=limit)
    contract.assert_enclosed(interval.lower, truth, interval.upper)


@pytest.mark.parametrize("seed", [25, 309])
def test_blocks_with_nearly_the_same_norm_are_all_below_the_upper_end(seed: int) -> None:
    """Each block is flat, and single precision cannot tell which of them is the largest."""
    random = np.random.default_rng(seed)
    values = 1 - 5e-10 * random.random(4)
    weight = torch.zeros(4, 1, 1, 3, dtype=torch.float64)
    weight[range(4), 0, 0, random.integers(0, 3, 4)] = torch.from_numpy(values)
    found = Norms(weight).on_grid((10**6,))
    assert found.lower <= values.max() <= found.upper <= found.lower * (1 + 1e-9)


def test_taps_that_meet_on_a_circle_do_not_overflow() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).uniform(1.0, 1.7, (1, 5, 11, 3)) * 1e308)
    found = Norms(weight).on_grid((2,))
    truth = np.linalg.norm((weight[0] / 2**10).sum(-1), 2)
    below = Norms(weight / 2**10).on_grid((2,))
    assert below.lower <= truth * (1 + 1e-14)
    assert truth <= below.upper * (1 + 1e-14)
    assert found.lower == pytest.approx(np.finfo(float).max)
    assert found.upper == math.inf
