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
from dataclasses import dataclass, field

import torch

from convsv_cli.spectral.ascent import Peaks, nearest, turns_of
from convsv_cli.spectral.compression import Compression, compression
from convsv_cli.spectral.definition import definition_error, gram_by_definition, phases
from convsv_cli.spectral.eigenpairs import eigh, lanczos, start_vector, top_pair
from convsv_cli.spectral.grid_maximum import POINTS_PER_LEAF, canonical, points_in
from convsv_cli.spectral.matrix_norm import proven_below, proven_level
from convsv_cli.spectral.spectrum import half_grid, symbol_at, unravelled
from convsv_cli.spectral.tiles import SLACK, Tiling, root_tiles
from convsv_cli.spectral.whole_grid import gram_matrices

VECTORS = 4
"""Of which the quadratic forms are looked at."""
OF_TILES, OF_ALL, OF_OPEN, LAST = (0.6,), (0.75, 0.5), (0.4,), (0.3,)
"""Shares of the level (see `Compression.below`) for tiles, all points, those in tiles, and at the end."""
FORMS, REACH = 64, 4
"""Points on an axis where they are, and of a finer grid on either side."""
HOPELESS = 0.8
"""Of the level: what tiles are not tried at."""
POWERS = 4
"""Steps of the power method that a vector is improved by."""
STEPS, DIRECT = 6, 2 * 10**5
"""Lanczos steps; multiplications in the time of which LAPACK finds all eigenvalues instead."""
ROUNDS = 4
"""Improvements of the level before proofs in full."""
MOST_TILES, MOST_POINTS = 2**14, 2**13
"""That are looked at."""
MOST_LEFT, FEW = 64, 8
"""Points of which whole matrices are formed, and at a time; more are left to a search."""
DOUBT = 1e-5
"""Relative error of estimates."""
GAINED = 1e-2
"""Relative: what is worth another round."""


def compressed_grid(
    weight: torch.Tensor, tiling: Tiling, grid: tuple[int, ...]
) -> tuple[float, Peaks] | None:
    """A proven upper end of the largest eigenvalue at frequencies 2 pi j / grid, and where it is attained.

    None where the symbol may be large in too many directions.

    Args:
        weight: float64 [1, c_out, c_in, *k], of norm about 1.
        tiling: for its size.
        grid: number of frequencies on each axis, at least k.
    """
    wide = weight[0] if weight.shape[1] <= weight.shape[2] else weight[0].transpose(0, 1)
    taps = wide.permute(*range(2, wide.ndim), 0, 1).contiguous()
    if (few := compression(taps)) is None:
        return None
    search = _Search(few=few, wide=wide, tiling=tiling, grid=grid)
    found = search.narrowed()
    return None if found is None else search.proven(*found)


def least_share(radius: float, reach: float) -> float:
    """Of the largest point of a grid, what there is at least at the centre of its tile (see above)."""
    return (math.cos(reach + radius) / math.cos(reach)) ** 2 if reach + radius < math.pi / 2 else 0.0


@dataclass(frozen=True, kw_only=True)
class _Wave:
    """A point of the grid, int64 [axes], and a vector, of which H makes `value` or more."""

    index: torch.Tensor
    vector: torch.Tensor
    value: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """For the largest point of a grid.

    Attributes:
        few: of the kernel.
        wide: float64 [p, q, *k], the kernel.
        tiling: for its size.
        grid: number of points on each axis.
    """

    few: Compression
    wide: torch.Tensor
    tiling: Tiling
    grid: tuple[int, ...]
    _latest: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict, init=False
    )

    def narrowed(self) -> tuple[_Wave, torch.Tensor] | None:
        """A point that is among the largest, and those that are not proven to be below its value.

        int64 [n, axes], one of each opposite pair.
        """
        wave = self._guess()
        if not self.few.size(wave.value):
            return None
        wave = max(wave, self._climbed(wave.value), key=lambda one: one.value)
        left, shares = self._open(wave.value), OF_ALL if self._is_small else OF_OPEN
        if left is None:
            return None
        for _ in range(ROUNDS):
            left = left[~self.few.below(turns_of(left, self.grid), wave.value, shares)]
            if not len(left):
                break
            values, parts = self._tops(turns_of(left, self.grid), wave.value)
            best = int(values.argmax())
            higher = self._improved(left[best], self.few.vectors(parts[best : best + 1])[0])
            gained, wave = higher.value / wave.value - 1, max(wave, higher, key=lambda one: one.value)
            if gained < GAINED:
                break
        return wave, left

    def _guess(self) -> _Wave:
        """Near where a few vectors' quadratic forms are largest."""
        coarse = tuple(min(n, FORMS) for n in self.grid)
        vectors = self.few.basis[:, :VECTORS].T
        kernels = (vectors @ self.wide.flatten(1)).view(-1, 1, *self.wide.shape[1:])
        forms, _ = gram_matrices(kernels, coarse)
        best = unravelled(forms.real.flatten().argmax()[None], (len(vectors), *half_grid(coarse)))[0]
        return self._improved(nearest(turns_of(best[1:], coarse), self.grid), vectors[best[0]])

    def _tops(self, turns: torch.Tensor, level: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest eigenvalues of the D at some frequencies, about, and their vectors: [n], [n, k]."""
        heads = self.few.heads(turns, level)
        if len(heads) * heads.shape[-1] ** 3 < DIRECT:
            values, vectors = eigh(heads)
            return values[:, -1].double(), vectors[..., -1]
        start = start_vector(heads.shape[-1], heads.device).to(heads.dtype).expand(len(heads), -1)
        return lanczos(heads, start, STEPS)

    def _climbed(self, level: float) -> _Wave:
        """Where quadratic forms of top vectors are largest: first of those at the centres of tiles."""
        coarse = tuple(min(n, FORMS) for n in self.grid)
        places = torch.arange(math.prod(half_grid(coarse)), device=self.wide.device)
        there = turns_of(unravelled(places, half_grid(coarse)), coarse)
        parts = self._tops(root_tiles(self.tiling, 1, self.wide.device).centre, level)[1]
        parts, turns = self._moved(parts, there, level)
        step = [-(-n // FORMS) for n in self.grid]
        while max(step) > 1:
            step = [-(-each // REACH) for each in step]
            around = [torch.arange(-REACH, REACH + 1, device=places.device) * each for each in step]
            offsets = torch.cartesian_prod(*around).reshape(-1, len(step))
            there = turns_of(nearest(turns, self.grid) + offsets, self.grid)
            parts, turns = self._moved(parts, there, level)
        return self._improved(nearest(turns[0], self.grid), self.few.vectors(parts)[0])

    def _moved(
        self, parts: torch.Tensor, there: torch.Tensor, level: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where, of some frequencies, a form of some vectors is largest, and the top vector there."""
        head, even = self.few.head(level), 1 + len(self.few.lags)
        images = torch.einsum("rij,nj->nri", head.to(parts.dtype), parts)
        forms = torch.einsum("nri,ni->nr", images, parts.conj())
        forms = torch.cat([forms[:, :even].real, -forms[:, even:].imag], 1)
        values = phases(self.few.lags, there).float() @ forms.T
        turns = there[int(values.amax(1).argmax())][None]
        return self._tops(turns, level)[1], turns

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
                tiles = tiles[~self.few.below(tiles.centre, share * level * (1 - DOUBT), OF_TILES)]
            if len(tiles) > MOST_TILES:
                return None
            tiles = tiles.split(self.tiling)
        points = points_in(tiles, self.tiling, self.grid)[1]
        return points if len(points) <= MOST_POINTS else None

    def _improved(self, index: torch.Tensor, vector: torch.Tensor) -> _Wave:
        """By the power method, in single precision."""
        (symbol, adjoint), value = self._symbol(tuple(index.tolist())), 0.0
        for _ in range(POWERS):
            vector = torch.nn.functional.normalize(vector.to(symbol.dtype), dim=0)
            image = adjoint @ vector
            value = float(torch.linalg.vector_norm(image)) ** 2
            vector = symbol @ image
        vector = torch.nn.functional.normalize(vector, dim=0).to(torch.complex128)
        return _Wave(index=canonical(index[None], self.grid)[0], vector=vector, value=value * (1 - DOUBT))

    def _symbol(self, index: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """And its adjoint, in single precision; the latest is kept."""
        if index not in self._latest:
            self._latest.clear()
            symbol = symbol_at(self.wide, index, self.grid).to(torch.complex64)
            self._latest[index] = symbol, symbol.mH.contiguous()
        return self._latest[index]

    def proven(self, wave: _Wave, left: torch.Tensor) -> tuple[float, Peaks] | None:
        """The level that is proven at all points, with the largest found; None where too many are left."""
        level, top = wave.value, None  # all but those left are proven to be below that level
        while True:
            matrix = self._matrices(wave.index[None])
            value, vector = top_pair(matrix[0], wave.vector)
            level = max(level, proven_level(matrix, value, self._error(matrix)))
            if top is None or value > top.value:
                top = _Wave(index=wave.index, vector=vector, value=value)
            left = left[(left != wave.index).any(1)]
            if len(left) > FEW:
                left = left[~self.few.below(turns_of(left, self.grid), level, LAST)]
            if len(left) > MOST_LEFT:
                return None
            left = left[~self._below(left, level)]
            if not len(left):
                return level, self._peaks(top)
            waves = [self._improved(index, top.vector) for index in left]
            wave = max(waves, key=lambda one: one.value)

    def _matrices(self, index: torch.Tensor) -> torch.Tensor:
        return gram_by_definition(
            self.few.taps[None], torch.zeros_like(index[:, 0]), turns_of(index, self.grid)
        )

    def _error(self, matrices: torch.Tensor) -> float:
        """Of these, whose traces are off by far less than a thousandth."""
        size = float(torch.linalg.vector_norm(self.wide.flatten(2).abs().sum(2)))
        trace = float(matrices.diagonal(dim1=-2, dim2=-1).real.sum(-1).max())
        return 1.001 * definition_error(self.few.taps[None], 1.001 * size, 1.001 * trace)

    def _below(self, index: torch.Tensor, level: float) -> torch.Tensor:
        some = (self._matrices(index[first : first + FEW]) for first in range(0, len(index), FEW))
        proven = [proven_below(each, level, self._error(each)) for each in some]
        return torch.cat([index.new_zeros(0, dtype=torch.bool), *proven])

    def _peaks(self, wave: _Wave) -> Peaks:
        return Peaks(
            block=wave.index.new_zeros(1),
            index=wave.index[None],
            value=self.wide.new_tensor([wave.value]),
            vector=wave.vector[None],
        )
