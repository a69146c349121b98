"""The largest eigenvalue of a Gram symbol over a grid, by its few large directions (see `compression`).

A plane wave that is among the largest is found by the quadratic forms of a few vectors. Tiles and points are
cleared by proofs of that level in few directions, and the largest of what is left is found by the matrices
that these proofs are made of. Only at a few points, H itself is formed and factorized.

**No supremum is needed.** Let m be the largest eigenvalue on a grid of n_i points on each axis, and b = sum_i
pi d_i / n_i the reach from any frequency to the nearest of them. By the lemma of `supremum`, the supremum M
is at most m / cos^2 b, for a point of the grid is within reach of its maximizer. By the same lemma, a tile of
radius a with the point of m in it has lambda_1 >= (sqrt(m) cos a - sqrt(M - m) sin a)^2 at its centre, which
falls with M, and is m cos^2(a + b) / cos^2 b for the largest M, as long as a + b <= pi / 2. So tiles with
less than level cos^2(a + b) / cos^2 b at their centres do not hold the largest point, if that is at the level
or above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from convsv_cli.spectral.ascent import Peaks, turns_of
from convsv_cli.spectral.compressed_waves import DOUBT, Purse, Wave, Waves, compressed, oriented
from convsv_cli.spectral.compression import Compression
from convsv_cli.spectral.eigenpairs import top_pair
from convsv_cli.spectral.grid_maximum import POINTS_PER_LEAF, canonical, points_in
from convsv_cli.spectral.matrix_norm import proven_below, proven_level
from convsv_cli.spectral.spectrum import half_grid, unravelled
from convsv_cli.spectral.tiles import SLACK, Tiling, root_tiles

OF_TILES, OF_ALL, OF_MANY, OF_OPEN, LAST = (0.6,), (0.75, 0.5), (0.85, 0.6), (0.4,), (0.3,)
"""Shares of the level (see `Compression.below`) for tiles, all points, more of these than `MANY`, those in
tiles, and at the end."""
MANY = 256
HOPELESS = 0.8
"""Of the level: what tiles are not tried at."""
ROUNDS = 4
"""Improvements of the level before proofs in full."""
MOST_TILES, MOST_POINTS = 2**14, 2**13
"""That are looked at."""
MOST_LEFT, FEW = 64, 8
"""Points of which whole matrices are formed, and at a time; more are left to a search."""
GAINED = 1e-2
"""Relative: what is worth another round."""


def compressed_grid(
    weight: torch.Tensor,
    tiling: Tiling,
    grid: tuple[int, ...],
    *,
    few: Compression | None = None,
    purse: Purse | None = None,
) -> tuple[float, Peaks] | None:
    """A proven upper end of the largest eigenvalue at frequencies 2 pi j / grid, and where it is attained.

    None where the symbol may be large in too many directions, or the purse is empty.

    Args:
        weight: float64 [1, c_out, c_in, *k], of norm about 1.
        tiling: for its size.
        grid: number of frequencies on each axis, at least k.
        few: of the weight, where that is known.
        purse: for the proofs.
    """
    few = few or compressed(weight)
    if few is None:
        return None
    search = _Search(few=few, wide=oriented(weight), tiling=tiling, grid=grid, purse=purse or Purse())
    found = search.narrowed()
    return None if found is None else search.proven(*found)


def least_share(radius: float, reach: float) -> float:
    """Of the largest point of a grid, what there is at least at the centre of its tile (see above)."""
    return (math.cos(reach + radius) / math.cos(reach)) ** 2 if reach + radius < math.pi / 2 else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search(Waves):
    """For the largest point of the grid."""

    def narrowed(self) -> tuple[Wave, torch.Tensor] | None:
        """A point that is among the largest, and those that are not proven to be below its value.

        int64 [n, axes], one of each opposite pair.
        """
        wave = self.guess()
        if not self.few.size(wave.value):
            return None
        wave = max(wave, self.climbed(wave.value), key=lambda one: one.value)
        left = self._open(wave.value)
        if left is None:
            return None
        shares = (OF_MANY if len(left) > MANY else OF_ALL) if self._is_small else OF_OPEN
        for _ in range(ROUNDS):
            if not self.purse.takes(len(left) * self.few.cost(wave.value, shares[-1])):
                return None
            left = left[~self.few.below(turns_of(left, self.grid), wave.value, shares)]
            if not len(left):
                break
            values, parts = self.tops(turns_of(left, self.grid), wave.value)
            best = int(values.argmax())
            higher = self.improved(left[best], self.few.vectors(parts[best : best + 1])[0])
            gained, wave = higher.value / wave.value - 1, max(wave, higher, key=lambda one: one.value)
            if gained < GAINED:
                break
        return wave, left

    def improved(self, index: torch.Tensor, vector: torch.Tensor) -> Wave:
        """At the one of the point and its opposite, where H is the conjugate, that comes first."""
        wave = super().improved(index, vector)
        first = canonical(index[None], self.grid)[0]
        vector = wave.vector if torch.equal(first, index) else wave.vector.conj().resolve_conj()
        return replace(wave, index=first, vector=vector)

    @property
    def _is_small(self) -> bool:
        """Whether all points are looked at."""
        return math.prod(self.grid) <= 4 * POINTS_PER_LEAF * self.tiling.places

    def _open(self, level: float) -> torch.Tensor | None:
        """Points that tiles do not prove to be below the level; None if they are too many."""
        if self._is_small:
            every = torch.arange(math.prod(half_grid(self.grid)), device=self.wide.device)
            return canonical(unravelled(every, half_grid(self.grid)), self.grid)
        reach = SLACK + sum(math.pi * d / n for d, n in zip(self.tiling.degrees, self.grid, strict=True))
        tiles = root_tiles(self.tiling, 1, self.wide.device)
        while self.tiling.volume(tiles.rho) * math.prod(self.grid) > POINTS_PER_LEAF and len(tiles):
            radius = self.tiling.radius(tiles.rho)
            if (share := least_share(radius, reach)) > HOPELESS:
                if not self.purse.takes(len(tiles) * self.few.cost(share * level, OF_TILES[0])):
                    return None
                tiles = tiles[~self.few.below(tiles.centre, share * level * (1 - DOUBT), OF_TILES)]
            if len(tiles) > MOST_TILES:
                return None
            tiles = tiles.split(self.tiling)
        points = points_in(tiles, self.tiling, self.grid)[1]
        return points if len(points) <= MOST_POINTS else None

    def proven(self, wave: Wave, left: torch.Tensor) -> tuple[float, Peaks] | None:
        """The level that is proven at all points, with the largest found; None where too many are left."""
        level, top = wave.value, None  # all but those left are proven to be below that level
        while True:
            matrix = self.matrices(wave.index[None])
            value, vector = top_pair(matrix[0], wave.vector if wave.value > 0 else None)
            level = max(level, proven_level(matrix, value, self.error(matrix)))
            if top is None or value > top.value:
                top = Wave(index=wave.index, vector=vector, value=value)
            left = left[(left != wave.index).any(1)]
            if len(left) > FEW:
                left = left[~self.few.below(turns_of(left, self.grid), level, LAST)]
            if len(left) > MOST_LEFT:
                return None
            left = left[~self._below(left, level)]
            if not len(left):
                return level, self._peaks(top)
            waves = [self.improved(index, top.vector) for index in left]
            wave = max(waves, key=lambda one: one.value)

    def _below(self, index: torch.Tensor, level: float) -> torch.Tensor:
        some = (self.matrices(index[first : first + FEW]) for first in range(0, len(index), FEW))
        proven = [proven_below(each, level, self.error(each)) for each in some]
        return torch.cat([index.new_zeros(0, dtype=torch.bool), *proven])

    def _peaks(self, wave: Wave) -> Peaks:
        return Peaks(
            block=wave.index.new_zeros(1),
            index=wave.index[None],
            value=self.wide.new_tensor([wave.value]),
            vector=wave.vector[None],
        )
