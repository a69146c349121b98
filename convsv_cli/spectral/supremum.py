r"""The largest eigenvalue of a Gram symbol H over all frequencies, by branch and bound.

Let the spectrum of H lie in [ell, M] on the whole torus, and let a = sum_i d_i |delta_i| <= pi / 2.

**Lemma.** If lambda_1(H(theta)) = m, then lambda_1(H(theta + delta)) >= ell + (M - ell) cos^2(alpha + a)
with alpha = arccos sqrt((m - ell) / (M - ell)), as long as alpha + a <= pi / 2. *Proof.* For the top
vector v at theta, f = v* H v is a real trigonometric polynomial of exponential type 2 d_i along axis i,
with ell <= f <= M. Bernstein and Szegoe's f'^2 + (2d)^2 (f - mid)^2 <= (2d)^2 amp^2, with mid = (M +
ell) / 2 and amp = (M - ell) / 2, makes arccos((f - mid) / amp) Lipschitz with constants 2 d_i. It is 2
alpha at theta, so at most 2 (alpha + a) at theta + delta.

So a tile of radius a around c holds no frequency at which lambda_1 exceeds m if lambda_1(H(c)) < ell + (M
- ell) cos^2(alpha + a): one Cholesky factorization. For the supremum, m = M and alpha = 0: were M above
the level that is to be proven, the tile that holds the maximum could not be cleared. On a grid M has to
be known. (m cos^2 a alone is wrong there: the lemma needs the supremum.)

Tiles that are not cleared are split. Tiles that were cleared for a level stay so for every higher one. Where
the largest eigenvalue is nearly as large everywhere, the tiles are made as fine at once as clears most of
them (see `sizing`). Where all eigenvalues nearly are, ell and M are narrowed first: from lambda_1 <= beta and
lambda_p >= kappa at all centres, f - mid has at most the amplitude (beta - kappa) / (2 cos 2a), by the same
lemma.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from convsv_cli.numerics.rounding import gamma, round_down, round_up
from convsv_cli.spectral.ascent import CLIMBED, Peaks, ascend, climb, measured, nearest
from convsv_cli.spectral.costs import MOST_TILES
from convsv_cli.spectral.eigenpairs import top_pair
from convsv_cli.spectral.gram_symbol import GramSymbol
from convsv_cli.spectral.matrix_norm import cholesky_margin, proven_level
from convsv_cli.spectral.sizing import Sizing
from convsv_cli.spectral.tiles import Prover, Tiles, Tiling, root_tiles

CONTINUUM = 2**40  # grid points on an axis that stand for all frequencies
CLIMBERS = 3
MANY = 64  # blocks, of which the largest eigenvalue is estimated one by one
FINEST = 2.0**-36
PROBES = 16  # tiles that are tried before all are, where there are many
MOST_MEASURED, THOROUGH = 20, 24  # frequencies, and steps at each of them
MANY_OPEN = 32  # tiles left at a level, which a symbol with a few smooth peaks does not have
FLAT_TOP = 0.75  # share of the root tiles that would not clear if they were split
FLAT = 0.6  # mean eigenvalue by largest, above which narrowing the spectrum pays
NARROWING = (0.5, 0.25)  # sizes of the tiles at whose centres the spectrum is narrowed
DOUBLINGS = 60
SHARE = 1.2  # of what is left of the limit that the guess may take: it is high, and a goal may be raised
RISES = 6  # by which a goal becomes what the tiles prove as they are
COARSEST, COARSER = 1.0, 1.25  # tolerance, however small the limit is
ANGLE_SLACK = 3e-8  # radians: near 1, arccos sqrt turns a rounding into its square root


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """A proven enclosure of all eigenvalues of H on the whole torus."""

    lower: float = 0.0
    upper: float

    def threshold(self, level: float, radius: float) -> float:
        """What lambda_1 at a tile's centre must lie below, so that nothing in it exceeds `level` (the lemma).

        Minus infinity where nothing can be concluded.
        """
        span = self.upper - self.lower
        alpha = 0.0
        if level < self.upper:
            alpha = math.acos(math.sqrt(max(0.0, level - self.lower) / span)) + ANGLE_SLACK
        if alpha + radius >= math.pi / 2:
            return -math.inf
        return round_down(self.lower + span * math.cos(alpha + radius) ** 2)


@dataclass(frozen=True, kw_only=True)
class Supremum:
    """What is known of a Gram symbol on the whole torus.

    Attributes:
        spectrum: proven.
        peaks: where the largest eigenvalue nearly is, on the `CONTINUUM`.
        roots: the root tiles, with estimates.
        cut: whether the model's allowance, or the end of the run, ended the search.
    """

    spectrum: Spectrum
    peaks: Peaks
    roots: Tiles
    cut: bool = False


def supremum(
    gram: GramSymbol, tiling: Tiling, known: Spectrum, *, tolerance: float, limit: float
) -> Supremum:
    """Enclose the largest eigenvalue over all frequencies.

    Args:
        gram: with a spectrum that `known` encloses, and not zero.
        tiling: for the sizes of its kernels.
        known: what is proven already.
        tolerance: relative distance of the upper end from the supremum that is good enough.
        limit: multiplications after which to stop with what is proven by then.

    Cost: the number of factorizations grows with log(1 / tolerance) where the symbol has a few smooth peaks,
    and like tolerance^(-axes / 2) where it is flat; it does not depend on any input size.
    """
    prover = Prover(gram, limit)
    tiles = root_tiles(tiling, gram.blocks, gram.device)
    grid = (CONTINUUM,) * len(tiling.counts)
    seen = measured(gram, tiles.block, nearest(tiles.centre, grid), grid)
    tiles = replace(tiles, estimate=seen.value)
    peaks = climb(gram, seen.best(CLIMBERS), grid, tolerance / CLIMBED)
    known = replace(known, upper=min(known.upper, correlation_bound(gram)))
    margin = cholesky_margin(gram.side, torch.complex128) + gram.error / peaks.top
    search = _Search(prover, tiling, known, peaks, max(tolerance, 8 * margin))
    if search.goal < known.upper and prover.affords(2 * len(tiles)):
        search.run(search.sized(tiles))
    return Supremum(spectrum=search.known, peaks=search.peaks, roots=tiles, cut=prover.cut)


class _Search:
    """Branch and bound for a proof that `goal` is an upper end.

    Attributes:
        known: what is proven.
        peaks: the highest points found.
        goal: what is to be proven: `tolerance` above the highest point.
    """

    def __init__(
        self, prover: Prover, tiling: Tiling, known: Spectrum, peaks: Peaks, tolerance: float
    ) -> None:
        self._prover, self._tiling, self._tolerance = prover, tiling, tolerance
        self.known = known
        self.peaks = peaks
        self.goal = min(known.upper, peaks.top * (1 + tolerance))
        self._sized, self._seen = False, math.inf

    def sized(self, tiles: Tiles) -> Tiles:
        """Root tiles to begin with: finer ones where nearly nothing of these would clear."""
        gram, tiling = self._prover.gram, self._tiling
        known = replace(self.known, upper=self.goal).threshold(self.goal, tiling.radius(0.5))
        if float((tiles.estimate >= known).double().mean()) < FLAT_TOP:
            return tiles
        values = self._climb_higher(tiles.split(tiling)).sort().values[:-1]  # the highest is of a peak
        self._prover.expect_many()
        self._sized, margin = True, self._prover.margin(self.goal)
        sizing = Sizing(tiling=tiling, count=len(tiles), values=values, margin=margin)
        if _is_flat(gram, self.peaks.top):
            self._narrow(tiles, sizing)
        while not self._prover.has_room(
            max((best := self._best(sizing, self.known))[0] / SHARE, 2 * sizing.tiles(best[1]))
        ):
            if self._tolerance >= COARSEST:
                return tiles
            self._tolerance *= COARSER
            self.goal = min(self.known.upper, self.peaks.top * (1 + self._tolerance))
        self._tiling = tiling.finer(best[1])
        return root_tiles(self._tiling, gram.blocks, gram.device)

    def _best(self, sizing: Sizing, known: Spectrum) -> tuple[float, float]:
        """About the fewest proofs of the goal, and the size of tiles that takes them."""
        return sizing.best(partial(replace(known, upper=self.goal).threshold, self.goal))

    def run(self, tiles: Tiles) -> None:
        """Clear all tiles, for a higher goal where the limit does not allow this one; `known` is then new."""
        while len(tiles := self._open(tiles)):
            halves = self._tiling.halves * len(tiles)
            if self._prover.affords(2 * halves) and tiles.rho >= FINEST and halves <= MOST_TILES:
                tiles = tiles.split(self._tiling)
            elif not self._prover.affords(2 * len(tiles)) or not self._may_raise(tiles.rho):
                self._settle(tiles)
                return
        self.known = replace(self.known, upper=self.goal)

    def _open(self, tiles: Tiles) -> Tiles:
        """The tiles that cannot be cleared."""
        level, gain = self._level(tiles.rho), self._level(tiles.rho / 2) - self._level(tiles.rho)
        many = len(tiles) > 4 * PROBES and not self._sized
        if many and not self._prover.clears(tiles.spread(PROBES), level, gain).any():
            self._climb_higher(tiles)
            return tiles
        tiles, goal = tiles[~self._prover.clears(tiles, level, gain)], self.goal
        if (len(tiles) > MANY_OPEN and not self._sized) or (len(tiles) and level > self.peaks.top):
            self._climb_higher(tiles)
        again = self.goal > goal * (1 + self._tolerance) and self._prover.affords(2 * len(tiles))
        return self._open(tiles) if again else tiles

    def _level(self, rho: float) -> float:
        """What the eigenvalue at the centre of a tile must lie below for the goal."""
        return replace(self.known, upper=self.goal).threshold(self.goal, self._tiling.radius(rho))

    def _may_raise(self, rho: float) -> bool:
        """Raise the goal by a part of what the tiles' size costs, unless it is above that already."""
        cost = 1 - max(0.0, self._level(rho)) / self.goal
        raised = self.peaks.top * (1 + self._tolerance + cost / RISES)
        if self._tolerance >= cost or raised >= self.known.upper:
            return False
        self._tolerance += cost / RISES
        self.goal = raised
        return True

    def _climb_higher(self, tiles: Tiles) -> torch.Tensor:
        """Look among tiles for a higher point, and raise the goal: the values at some of their centres."""
        if tiles.rho == self._seen:
            return tiles.estimate
        self._seen = tiles.rho
        gram, grid = self._prover.gram, (CONTINUUM,) * len(self._tiling.counts)
        tiles = tiles.spread(MOST_MEASURED)
        seen = measured(gram, tiles.block, nearest(tiles.centre, grid), grid, steps=THOROUGH)
        found = ascend(gram, seen.best(2 * CLIMBERS), grid, self._tolerance)
        if found.top > self.peaks.top:
            self.peaks = found
            self.goal = min(self.known.upper, max(self.goal, found.top * (1 + self._tolerance)))
        return seen.value

    def _narrow(self, tiles: Tiles, sizing: Sizing) -> None:
        """Prove both ends at all centres, and from these both ends of the whole spectrum."""
        prover, top = self._prover, self.peaks.top
        matrix = prover.gram.at_one(tiles.block[:1], tiles.centre[:1]).neg()
        matrix.diagonal().add_(top)
        low = top - top_pair(matrix)[0]

        def proofs(rho: float) -> float:
            guess = self._widened(low - (top - low) / 32, top, rho)
            return self._best(sizing, guess)[0] + 2 * sizing.tiles(rho)

        without = self._best(sizing, self.known)[0]
        fewest, rho = min((proofs(rho), rho) for rho in NARROWING)
        if fewest >= without or not prover.affords(int(fewest)):
            return
        while tiles.rho > rho:
            tiles = tiles.split(self._tiling)
        beta = _proven(prover.below, tiles, top, self._tolerance * top / 8)
        kappa = beta - _proven(partial(prover.above, beta=beta), tiles, beta - low, (top - low) / 32)
        self.known = self._widened(round_down(kappa), beta, rho)
        self.goal = min(self.known.upper, self.goal)

    def _widened(self, kappa: float, beta: float, rho: float) -> Spectrum:
        """What is known of the whole spectrum if it lies from kappa to beta at the centres of all tiles."""
        cosine = math.cos(2 * self._tiling.radius(rho))
        middle, amplitude = (beta + kappa) / 2, (beta - kappa) / 2 / cosine
        return Spectrum(
            lower=max(self.known.lower, round_down(middle - amplitude)),
            upper=min(self.known.upper, round_up(middle + amplitude)),
        )

    def _settle(self, tiles: Tiles) -> None:
        """The work runs out: prove of the tiles that are left what can be proven without splitting them."""
        radius = self._tiling.radius(tiles.rho)
        excess = max(self._tolerance, 1.1 * self._prover.margin(self.peaks.top) / self.peaks.top)
        level, few = self.peaks.top, len(tiles) // 8
        while len(tiles) and (self._prover.affords(len(tiles)) or len(tiles) <= few):
            level = self.peaks.top * (1 + excess)
            tiles = tiles[~self._prover.clears(tiles, level)]
            excess *= 2
        if not len(tiles) and radius < math.pi / 2:
            sine, cosine = math.sin(radius) ** 2, math.cos(radius) ** 2
            upper = round_up((level - self.known.lower * sine) / cosine)
            self.known = replace(self.known, upper=min(self.known.upper, max(self.goal, upper)))


def _proven(
    test: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor], tiles: Tiles, start: float, step: float
) -> float:
    """A level above `start` at which the test holds at the centres of all tiles, or infinity."""
    for _ in range(DOUBLINGS):
        level = start + step
        tiles = tiles[~test(tiles.block, tiles.centre, level)]
        if not len(tiles):
            return level
        step *= 2
    return math.inf


def correlation_bound(gram: GramSymbol) -> float:
    """The largest eigenvalue of A_0 and the norms of all other A: sharp for orthogonal convolutions."""
    crude = float((gram.row_norms[:, 0] + _other_norms(gram.row_norms)).max())
    if float(_other_norms(gram.row_norms).max()) < float(gram.row_norms[:, 0].max()) / 8:
        zero = gram.double[:, 0].contiguous()
        level = proven_level(zero, max(top_pair(matrix)[0] for matrix in zero[:MANY]), gram.error)
        norms = torch.linalg.vector_norm(gram.double.flatten(2), dim=2)
        crude = min(crude, level + float(_other_norms(norms).max()) + gram.error)
    return round_up(crude * (1 + gamma(2 * gram.rows + gram.side**2)))


def _other_norms(norms: torch.Tensor) -> torch.Tensor:
    """Of all A but A_0, from those of the rows: |S cos + i N sin| <= hypot(|S|, |N|)."""
    cosines, sines = norms[:, 1:].chunk(2, 1) if norms.shape[1] > 1 else (norms[:, 1:], norms[:, 1:])
    return torch.hypot(cosines, sines).sum(1)


def _is_flat(gram: GramSymbol, top: float) -> bool:
    return float(gram.single[:, 0].diagonal(dim1=-2, dim2=-1).mean(-1).min()) > FLAT * top
