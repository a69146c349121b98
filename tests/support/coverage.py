"""That no frequency is lost: checks of tiles and of lists of grid points."""

from __future__ import annotations

import math
from itertools import product

import torch

from convsv_cli.spectral import grid_maximum
from convsv_cli.spectral.gram_symbol import gram_symbol
from convsv_cli.spectral.tiles import Tiling, root_tiles

CPU = torch.device("cpu")


def first(index: tuple[int, ...], grid: tuple[int, ...]) -> tuple[int, ...]:
    """Of a grid point and its opposite, the one that comes first."""
    opposite = tuple((-i) % n for i, n in zip(index, grid, strict=True))
    return min(tuple(i % n for i, n in zip(index, grid, strict=True)), opposite)


def pairs(grid: tuple[int, ...]) -> set[tuple[int, ...]]:
    """One of each pair of opposite points of the grid."""
    return {first(index, grid) for index in product(*map(range, grid))}


def assert_roots_cover(tiles: Tiling) -> None:
    """Every point of the torus, or its opposite, lies in a root tile."""
    generator = torch.Generator().manual_seed(0)
    axes = len(tiles.counts)
    special = torch.tensor(list(product((0.0, 0.25, 0.5, 0.75), repeat=axes)), dtype=torch.float64)
    points = torch.cat([torch.rand((4000, axes), generator=generator).double(), special.reshape(-1, axes)])
    centres = tiles.roots(CPU)
    covered = torch.zeros(len(points), dtype=torch.bool)
    for sign in (1, -1):
        offsets = sign * points[:, None] - centres
        covered |= tiles.contains(offsets - offsets.round(), 1.0).any(1)
    assert covered.all(), f"{points[~covered][:3].tolist()} lie in no tile, nor do their opposites"


def assert_all_points(grid: tuple[int, ...]) -> None:
    """Every point of a small grid, or its opposite, is listed once for each block."""
    gram = gram_symbol(torch.ones((2, 1, 1, *(2,) * len(grid)), dtype=torch.float64))
    block, index = grid_maximum._all_points(gram, grid)
    for b in range(2):
        listed = [first(tuple(row), grid) for row in index[block == b].tolist()]
        assert sorted(listed) == sorted(pairs(grid)), "points are missing, or listed twice"


def assert_tiles_have_all_points(tiling: Tiling, grid: tuple[int, ...], depth: int) -> None:
    """The tiles of a level between them have every point of the grid, or its opposite, for each block."""
    tiles = root_tiles(tiling, 2, CPU)
    for _ in range(depth):
        tiles = tiles.split(tiling)
    block, index = grid_maximum.points_in(tiles, tiling, grid)
    assert len(block) == 2 * math.prod(grid) - 2 * (math.prod(grid) - len(pairs(grid)))
    for b in range(2):
        assert {first(tuple(row), grid) for row in index[block == b].tolist()} == pairs(grid)
