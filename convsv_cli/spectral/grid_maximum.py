"""The largest eigenvalue of a Gram symbol over a grid, by branch and bound (see `supremum`)."""

from __future__ import annotations

import math

import torch

from convsv_cli.spectral.ascent import Peaks, climb, measured, nearest, resolved, summits, turns_of
from convsv_cli.spectral.costs import MOST_TILES
from convsv_cli.spectral.gram_symbol import GramSymbol
from convsv_cli.spectral.matrix_norm import proven_level
from convsv_cli.spectral.supremum import CLIMBERS, CONTINUUM, Supremum
from convsv_cli.spectral.tiles import Prover, Tiles, Tiling

DIRECT = 512  # grid points that are looked at one by one
MOST_POINTS = 2**22  # of all blocks, that are looked at one by one
POINTS_PER_LEAF = 4
LEAVES = 2**16  # tiles whose points are listed at a time
POINT = 1e3  # multiplications in the time of listing one
CANDIDATES = 2**22  # points around these tiles
ENOUGH = 1e-9
SAMPLES = 16
CLIMBED = 1e-3  # relative; the contest finds what is higher


def is_small(grid: tuple[int, ...], blocks: int = 1) -> bool:
    """Whether `grid_maximum` looks at each point of each block, and needs nothing but the symbol."""
    points = math.prod(grid)
    return points <= 2 * DIRECT and blocks * points <= MOST_POINTS


def grid_maximum(
    prover: Prover, tiling: Tiling, grid: tuple[int, ...], known: Supremum | None
) -> tuple[float, Peaks]:
    """A proven upper end of the largest eigenvalue at frequencies 2 pi j / grid, and where it is attained.

    Args:
        prover: of the Gram symbol; beyond its limit, the upper end of the whole spectrum has to do. Else it
            is sharp.
        tiling: as for `supremum`.
        grid: number of frequencies on each axis.
        known: what `supremum` found; may be None where the grid `is_small`.

    Cost: that of a few smooth peaks does not depend on the grid; a flat symbol may need every point.
    """
    gram = prover.gram
    if known is None:
        block, index = _all_points(gram, grid)
        step = -(-len(block) // SAMPLES)
        start = measured(gram, block[::step], index[::step], grid).best(CLIMBERS)
        contest = _Contest(prover, grid, climb(gram, start, grid, CLIMBED))
        contest.enter(block, index)
        return contest.level, contest.peaks
    contest = _Contest(prover, grid, _nearby(gram, known.peaks, grid))
    upper = known.spectrum.upper
    if upper <= contest.level * (1 + ENOUGH) or not _clear(contest, prover, tiling, known):
        return upper, contest.peaks  # the contest's level may lie below a point that has not entered
    return min(contest.level, upper), contest.peaks


def _nearby(gram: GramSymbol, peaks: Peaks, grid: tuple[int, ...]) -> Peaks:
    """The highest point of a grid near peaks on the `CONTINUUM`."""
    turns = turns_of(peaks.index, (CONTINUUM,) * len(grid))
    index = summits(gram, peaks, nearest(turns, grid), grid)
    found = measured(gram, peaks.block, index, grid, peaks.vector.to(torch.complex64))
    return resolved(gram, found.best(1), grid)


def _clear(contest: _Contest, prover: Prover, tiling: Tiling, known: Supremum) -> bool:
    """Whether every tile could be cleared, or each of its points entered, within the limit."""
    tiles, grid = known.roots, contest.grid
    while tiling.volume(tiles.rho) * math.prod(grid) > POINTS_PER_LEAF:
        level = known.spectrum.threshold(contest.level, tiling.radius(tiles.rho))
        if level > 0:
            if not prover.affords(len(tiles)):
                return False
            gain = contest.level - level
            tiles = tiles[~prover.clears(tiles, level, gain)]
        halves = tiling.halves * len(tiles)
        if not prover.affords(halves) or halves > MOST_TILES:
            return False
        tiles = tiles.split(tiling)
    around = math.prod(_spans(tiles.rho, tiling, grid))
    if around > CANDIDATES or not prover.takes(POINT * len(tiles) * around):
        return False
    leaves = min(LEAVES, CANDIDATES // around)
    for first in range(0, len(tiles), leaves):
        block, index = points_in(tiles[first : first + leaves], tiling, grid)
        if not prover.affords(len(block)):
            return False
        contest.enter(block, index)
    return True


class _Contest:
    """Grid points compared with the largest so far.

    Attributes:
        level: proven to be above the eigenvalue at every point that entered, and just above the largest.
        peaks: where that is.
    """

    def __init__(self, prover: Prover, grid: tuple[int, ...], peaks: Peaks) -> None:
        self._prover = prover
        self.grid = grid
        self.peaks = peaks
        self.level = 0.0
        self._raise(peaks)

    def enter(self, block: torch.Tensor, index: torch.Tensor) -> None:
        """Prove each point to lie below the level, and let that rise where it cannot be."""
        gram = self._prover.gram
        known = canonical(self.peaks.index[:1], self.grid)
        others = (index != known).any(1) | (block != self.peaks.block[0])
        block, index = block[others], index[others]
        while len(block):
            left = ~self._prover.below(block, turns_of(index, self.grid), self.level)
            block, index = block[left], index[left]
            if len(block):
                found = measured(gram, block, index, self.grid)
                found = found.best(len(block))
                self._raise(resolved(gram, found.best(1), self.grid))
                block, index = found.block[1:], found.index[1:]

    def _raise(self, peaks: Peaks) -> None:
        """Let the level be above the first of the points."""
        gram = self._prover.gram
        matrix = gram.at_one(peaks.block[:1], turns_of(peaks.index[:1], self.grid))
        self.level = max(self.level, proven_level(matrix[None], peaks.top, gram.error))
        if peaks.top > self.peaks.top:
            self.peaks = peaks


def _all_points(gram: GramSymbol, grid: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Every grid point, one of each opposite pair, for every block: int64 [n], [n, axes]."""
    ranges = [torch.arange(n, device=gram.device) for n in grid]
    index = torch.cartesian_prod(*ranges).reshape(-1, len(grid))
    index = torch.unique(canonical(index, grid), dim=0)
    block = torch.arange(gram.blocks, device=gram.device).repeat_interleave(len(index))
    return block, index.repeat(gram.blocks, 1)


def points_in(tiles: Tiles, tiling: Tiling, grid: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """The grid points in the tiles, one of each opposite pair, each once: int64 [n], [n, axes]."""
    sizes = torch.tensor(grid, dtype=torch.float64, device=tiles.centre.device)
    half = sizes.new_tensor(_reaches(tiles.rho, tiling))
    spans = [torch.arange(span, device=sizes.device) for span in _spans(tiles.rho, tiling, grid)]
    around = torch.cartesian_prod(*spans).reshape(-1, len(grid))
    candidates = ((tiles.centre - half) * sizes).floor()[:, None] + around
    inside = tiling.contains(candidates / sizes - tiles.centre[:, None], tiles.rho)
    block = tiles.block[:, None].expand(inside.shape)[inside]
    index = canonical(candidates[inside].long().remainder(sizes.long()), grid)
    rows = torch.unique(torch.cat([block[:, None], index], 1), dim=0)
    return rows[:, 0], rows[:, 1:]


def _reaches(rho: float, tiling: Tiling) -> list[float]:
    """How far a tile reaches along each axis, in turns."""
    return [rho / count if count else 0.0 for count in tiling.counts]


def _spans(rho: float, tiling: Tiling, grid: tuple[int, ...]) -> list[int]:
    """How many grid points there may be on each axis in a box around a tile."""
    return [int(2 * reach * n) + 3 for reach, n in zip(_reaches(rho, tiling), grid, strict=True)]


def canonical(index: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """Of each point and its opposite, the one that comes first in row-major order."""
    sizes = torch.tensor(grid, device=index.device)
    opposite = (-index).remainder(sizes)
    strides = torch.tensor([math.prod(grid[axis + 1 :]) for axis in range(len(grid))], device=index.device)
    first = (index * strides).sum(-1) <= (opposite * strides).sum(-1)
    return torch.where(first[:, None], index, opposite)
