r"""The largest eigenvalue of a Gram symbol over all frequencies, by its few large directions.

Tiles are cleared as in `supremum`, but by proofs in few directions (see `compression`). Next to the supremum
these lose too much, for what the large eigenvector has in W counts with the whole of the majorant there. So V
is given the real and the imaginary part of that vector, x. Then W^T H x is a multiple of W^T x, which is
nothing, and what is lost grows with the square of the distance from there.

With W' for what is left of W when directions r = W y are taken out of it: W' = W Y up to rounding, where Y
completes y to an orthogonal matrix, so that W'^T A W' <= |Y|^2 max mu, with the mu of W.
"""

from __future__ import annotations

import math

import torch

from convsv_cli.numerics.rounding import gamma
from convsv_cli.spectral.ascent import Peaks, nearest, turns_of
from convsv_cli.spectral.compressed_waves import DOUBT, Purse, Wave, Waves, oriented
from convsv_cli.spectral.compression import Compression, skewness
from convsv_cli.spectral.cores import product
from convsv_cli.spectral.eigenpairs import top_pair
from convsv_cli.spectral.supremum import CONTINUUM, Spectrum, Supremum
from convsv_cli.spectral.tiles import Tiles, Tiling, root_tiles

DIRECTIONS, SHARE = 0.5, 0.75
"""Of the level: directions with a larger majorant are in V; what `Compression.below` is asked for then."""
HOPELESS, CLOSE = 0.8, 0.985
"""Of the goal: levels below which tiles are not tried, and above which double precision is."""
FINEST = 2**26
"""Of the points that stand for all frequencies: steps of the last grid before the summit is climbed."""
SUMMITS = 4
"""That V may have the vectors of."""
AROUND = 6
"""Sizes of a tile: what is nearer to a summit belongs to it."""
STUCK = 0.25
"""Of the tolerance: by how much tiles that cannot be cleared lie below the goal."""
MOST_TILES = 2**10
"""At a level."""
LEAST = 4e-5
"""Tolerance; what is finer is left to a search in full, for E is nearly orthogonal only."""
INDEPENDENT = 1e-3
"""Of the length of a vector of length 1: what V has not yet."""
SPARE = 1e-9  # relative: more than what is rounded in a bound itself


def compressed_supremum(
    weight: torch.Tensor,
    few: Compression,
    tiling: Tiling,
    *,
    tolerance: float,
    purse: Purse,
    start: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> Supremum | None:
    """Enclose the largest eigenvalue over all frequencies.

    None where the symbol may be large in too many directions or at too many places, or the purse is empty.

    Args:
        weight: float64 [1, c_out, c_in, *k], of norm about 1.
        few: of the weight.
        tiling: for its size.
        tolerance: relative distance of the upper end from the supremum that is good enough.
        purse: for the proofs.
        start: a frequency, float64 [axes] in turns, and a vector, where H is nearly as large as anywhere.
    """
    grid = (CONTINUUM,) * len(tiling.counts)
    waves = Waves(few=few, wide=oriented(weight), tiling=tiling, grid=grid, purse=purse)
    first = _first(waves, start) if tolerance >= LEAST else None
    if first is None:
        return None
    search = _Search(waves, tolerance, first)
    roots = root_tiles(tiling, 1, weight.device)
    if not search.clears(roots):
        return None
    top = search.top
    peaks = Peaks(
        block=top.index.new_zeros(1),
        index=top.index[None],
        value=weight.new_tensor([top.value]),
        vector=top.vector[None],
    )
    return Supremum(spectrum=Spectrum(upper=search.goal), peaks=peaks, roots=roots)


def _first(waves: Waves, start: tuple[torch.Tensor, torch.Tensor] | None) -> Wave | None:
    """One that is among the largest; None where the symbol may be large in too many directions."""
    if start is not None:
        wave = waves.improved(nearest(start[0], waves.grid), start[1])
        return wave if waves.few.size(wave.value) else None
    wave = waves.guess()
    if not waves.few.size(wave.value):
        return None
    return max(wave, waves.climbed(wave.value, FINEST), key=lambda one: one.value)


class _Search:
    """Branch and bound for a proof that `goal` is an upper end.

    Attributes:
        top: the highest summit, in double precision.
        goal: what is to be proven: `tolerance` above it.
    """

    def __init__(self, waves: Waves, tolerance: float, first: Wave) -> None:
        self._waves, self._tolerance = waves, tolerance
        self._summits: list[Wave] = []
        self.top, self.goal = first, 0.0
        self._near: Compression | None = None
        self._climb(first)

    def clears(self, tiles: Tiles) -> bool:
        """Whether all tiles are cleared."""
        tiling = self._waves.tiling
        left: Tiles | None = tiles
        while left is not None and len(left):
            if tiling.halves * len(left) > MOST_TILES or self._level(left) > self.goal * self._enough:
                return False
            left = left.split(tiling)
            if self._level(left) > HOPELESS * self.goal:
                left = self._open(left)
                if left is not None and self._level(left) > CLOSE * self.goal and self._climb_far(left):
                    left = self._open(left)
        return left is not None

    @property
    def _enough(self) -> float:
        return 1 - STUCK * self._tolerance

    def _level(self, tiles: Tiles) -> float:
        """What the eigenvalue at the centre of a tile must lie below for the goal."""
        return Spectrum(upper=self.goal).threshold(self.goal, self._waves.tiling.radius(tiles.rho))

    def _open(self, tiles: Tiles) -> Tiles | None:
        """The tiles that cannot be cleared; None where that may not be tried."""
        if self._near is None:
            vectors = torch.stack([each.vector for each in self._summits])
            self._near = around(self._waves.few, vectors, self.goal)
        level = self._level(tiles)
        for dtype in (torch.float32, torch.float64)[: 1 + (level > CLOSE * self.goal)]:
            if self._near is None or not self._waves.purse.takes(len(tiles) * self._near.cost(level, SHARE)):
                return None
            tiles = tiles[~self._near.below(tiles.centre, level, (SHARE,), dtype)]
        return tiles

    def _climb_far(self, tiles: Tiles) -> bool:
        """Climb from tiles far from all summits, the most hopeful one first: whether there were any."""
        waves, before = self._waves, len(self._summits)
        while len(self._summits) < SUMMITS and len(tiles := tiles[~self._belong(tiles)]):
            values, parts = waves.tops(tiles.centre, self.goal)
            best = int(values.argmax())
            index = nearest(tiles.centre[best], waves.grid)
            self._climb(waves.improved(index, waves.few.vectors(parts[best : best + 1])[0]))
            tiles = tiles[torch.arange(len(tiles), device=values.device) != best]
        return len(self._summits) > before

    def _belong(self, tiles: Tiles) -> torch.Tensor:
        """Whether tiles are next to a summit, or its opposite: bool [n]."""
        found = torch.zeros_like(tiles.block, dtype=torch.bool)
        for each in self._summits:
            turns = turns_of(each.index, self._waves.grid)
            for place in (turns, -turns):
                apart = tiles.centre - place
                found |= self._waves.tiling.contains(apart - apart.round(), AROUND * tiles.rho)
        return found

    def _climb(self, wave: Wave) -> None:
        """To a summit, of which the highest one is resolved."""
        wave = self._waves.summit(wave)
        if wave.value > self.top.value * (1 - DOUBT) or not self._summits:
            value, vector = top_pair(self._waves.matrices(wave.index[None])[0], wave.vector)
            wave = Wave(index=wave.index, vector=vector, value=value)
        self._summits.append(wave)
        self.top = max(self._summits, key=lambda one: one.value)
        self.goal = self.top.value * (1 + self._tolerance)
        self._near = None


def around(few: Compression, vectors: torch.Tensor, level: float) -> Compression | None:
    """One whose V has these vectors too: complex128 [n, p]. None where that takes too many directions.

    With |A| <= (sum_t |K_t|_F)^2 = s, up to its rounding, and W' = W Y + D: |W'^T A W'| is at most
    |Y|^2 max mu + (2 |W Y| + |D|) s |D|, where |D| <= gamma_p |W|_F |Y|_F.
    And |Y|^2 is at most 1 + |Y^T Y - I|.
    """
    k, p = few.size(level, DIRECTIONS), len(few.basis)
    if not k:
        return None
    rest = few.basis[:, k:]
    parts = rest.mT @ torch.cat([vectors.real, vectors.imag]).mT
    left, sizes, _ = torch.linalg.svd(parts, full_matrices=False)
    new = left[:, sizes > INDEPENDENT]
    turned = torch.linalg.qr(new, mode="complete")[0]
    basis = torch.cat([few.basis[:, :k], product(rest, turned)], 1)
    skew, squared = skewness(basis), 1 + skewness(turned)
    lost = gamma(p) * float(torch.linalg.vector_norm(rest)) * float(torch.linalg.vector_norm(turned))
    size = float(torch.linalg.vector_norm(few.taps, dim=(-2, -1)).sum()) ** 2
    highest = float(few.majorant[k:].max()) * squared + 4 * size * (1 + few.skew) * squared * lost
    majorant = torch.full_like(few.majorant, highest * (1 + SPARE))
    majorant[: k + new.shape[1]] = math.inf
    return Compression(taps=few.taps, lags=few.lags, basis=basis, majorant=majorant, skew=skew, precise=True)
