"""Certified norms of a convolution, at every input size, at one, and of its unfoldings, computed once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from weakref import WeakKeyDictionary

import torch

from convsv_cli import deadline, limits
from convsv_cli.model.kernel import Kernel, unfolded
from convsv_cli.numerics.rounding import gamma, round_down, round_up
from convsv_cli.report import Interval
from convsv_cli.spectral.ascent import Peaks
from convsv_cli.spectral.compression import is_compressible
from convsv_cli.spectral.costs import Shape, unfolding_cost
from convsv_cli.spectral.few_directions import FewDirections
from convsv_cli.spectral.gram import PIECE
from convsv_cli.spectral.gram_symbol import GramSymbol, gram_symbol
from convsv_cli.spectral.grid_maximum import grid_maximum, is_small
from convsv_cli.spectral.matrix_norm import Scale, matrix_norm, norm_by_entries, rayleigh_lower
from convsv_cli.spectral.spectrum import symbol_at, symbol_error, wrapped
from convsv_cli.spectral.supremum import CONTINUUM, Spectrum, Supremum, supremum
from convsv_cli.spectral.tiles import Prover, Tiling, tiling
from convsv_cli.spectral.whole_grid import is_worth_it, whole_grid

AUXILIARY = 1e-3
"""Tolerance of a supremum that is only to help with a grid."""
FINEST, UNKNOWN = 1e-9, Spectrum(upper=math.inf)
TYPICAL_TESTS, MOST_AXES = 100, 6  # of a search; of which all unfoldings are formed
UNFOLDING, SEARCH = "the norm of an unfolding", "the search for the norm"
COARSEST = 1e-4  # of the norms of unfoldings: coarser ones take as much time
COPIES, PIECES = 4, 4
"""Of a Gram matrix, while its largest eigenvalue is found and proven; of a matrix in its pieces."""
LATE = 2e9  # multiplications, a tenth of a second, that an unfolding may take once a run is to end
BY_ENTRIES = "bounded by the sums of its entries alone"
CUT = f"the norm is searched for no further: {limits.STEP_OPTION} raises the limit of what the model may take"


@dataclass(frozen=True, kw_only=True, eq=False)
class PlaneWave:
    """A frequency, and vectors that the symbol there maps onto each other, up to a factor.

    Attributes:
        block: of which kernel.
        turns: the frequency on each axis, in turns.
        left, right: complex128 [c_out], [c_in].
    """

    block: int
    turns: tuple[float, ...]
    left: torch.Tensor
    right: torch.Tensor


_NORMS: WeakKeyDictionary[Kernel, Norms] = WeakKeyDictionary()


def norms_of(kernel: Kernel) -> Norms:
    """The kernel's norms; the same object, and what it has computed, for as long as the kernel lives."""
    if kernel not in _NORMS:
        _NORMS[kernel] = Norms(kernel.weight)
    return _NORMS[kernel]


def splits(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every choice of axes for the rows of an unfolding; the others go to its columns.

    Of more than `MOST_AXES`, which have too many choices: those of the first ones.
    """
    if len(axes) > MOST_AXES:
        return [tuple(axes[:count]) for count in range(len(axes) + 1)]
    return [rows for count in range(len(axes) + 1) for rows in itertools.combinations(axes, count)]


def search_work(kernel: Kernel) -> int:
    """About as many multiplications as a search takes, where the symbol has a few smooth peaks."""
    shape = Shape.of(kernel.weight)
    return TYPICAL_TESTS * shape.blocks * shape.side**3


class Norms:
    """The norms of plain kernels, the largest over the blocks.

    Every interval has proven ends. Limits are numbers of multiplications after which the interval is as wide
    as it then is.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight
        self._unfolded: dict[tuple[int, ...], tuple[float, Interval]] = {}
        self._by_entries: set[tuple[int, ...]] = set()
        self._suprema: dict[tuple[float, float], Supremum] = {}
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, for it would have taken too much, in plain words."""
        return tuple(self._notes)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Size of the kernels on each axis."""
        return tuple(self._weight.shape[3:])

    def unfolding(self, rows: tuple[int, ...], tolerance: float = 0.0) -> Interval:
        """The largest norm of the unfolding with those spatial axes in its rows, once for each of them.

        Axes of one tap make unfoldings coincide. `tolerance` is the relative width that is good enough.
        """
        rows, tolerance = self._wide(rows), min(tolerance, COARSEST)
        if tolerance < self._unfolded.get(rows, (math.inf,))[0]:
            norm = partial(matrix_norm, tolerance=tolerance) if self._charge(rows) else norm_by_entries
            self._unfolded[rows] = tolerance, norm(unfolded(self._weight, rows))
        return self._unfolded[rows][1]

    def is_coarse(self, rows: tuple[int, ...]) -> bool:
        """Whether the norm of an unfolding is what its entries alone say, as it is where a run is to end."""
        return self._wide(rows) in self._by_entries

    def _wide(self, rows: tuple[int, ...]) -> tuple[int, ...]:
        """Those of several taps."""
        return tuple(axis for axis in rows if self.spatial[axis] > 1)

    def _charge(self, rows: tuple[int, ...]) -> bool:
        """Ask for what the norm of an unfolding takes; False where there is no time for it."""
        blocks, c_out = self._weight.shape[:2]
        height = c_out * math.prod(self.spatial[axis] for axis in rows)
        width = self._weight[0].numel() // height
        side, cost = float(min(height, width)), unfolding_cost(blocks, height, width)
        if cost > LATE and (why := deadline.words()):
            limits.hold(8 * 3 * self._weight.numel(), UNFOLDING)
            self._by_entries.add(rows)
            self._notes[f"{why}: {BY_ENTRIES}"] = None
            return False
        converted = min(2 * self._weight.numel(), PIECES * PIECE if blocks == 1 else math.inf)
        limits.hold(8 * (converted + COPIES * blocks * side**2), UNFOLDING)
        limits.multiply(cost, UNFOLDING)
        return True

    def unfolding_bound(self, rows: tuple[int, ...], tolerance: float = 0.0) -> float:
        """`sqrt(prod k)` times the unfolding's norm: a bound at every size (Singla & Feizi, theorem 1)."""
        return round_up(round_up(math.sqrt(math.prod(self.spatial))) * self.unfolding(rows, tolerance).upper)

    def bound(self) -> float:
        """The least of all unfoldings' bounds."""
        wide = [axis for axis, k in enumerate(self.spatial) if k > 1]
        return min(map(self.unfolding_bound, splits(wide)))

    def supremum(self, *, tolerance: float = AUXILIARY, limit: float = math.inf) -> Interval:
        """The supremum over all frequencies: the norm of the convolution on the infinite lattice.

        No circular or zero-padded layer, whatever its size, has a larger norm. `tolerance` is the relative
        width that is good enough.
        """
        if self._is_matrix:
            return self.unfolding((), tolerance)
        try:
            found = self._supremum(tolerance, limit)
        except limits.LimitError as error:
            self._notes[str(error)] = None
            return self._unsearched
        interval = self._interval(found.spectrum.upper, found.peaks, (CONTINUUM,) * len(self.spatial))
        if interval.upper <= interval.lower * (1 + 2 * tolerance):
            return interval
        self.note(cut=found.cut)
        return Interval(lower=interval.lower, upper=min(interval.upper, self.bound()))

    @property
    def _unsearched(self) -> Interval:
        """What unfoldings prove of the supremum: T is what the layer does at one of its outputs."""
        upper = self.bound()
        return Interval(lower=min(self.unfolding(()).lower, upper), upper=upper)

    def note(self, *, cut: bool, said: str = CUT) -> None:
        """Have it noted if a search was cut short: by the end of the run, or by a limit, as is said."""
        if cut:
            why = deadline.words()
            self._notes[f"{why}: the norm is searched for no further" if why else said] = None

    def on_grid(
        self, grid: tuple[int, ...], *, tolerance: float = math.inf, limit: float = math.inf
    ) -> Interval:
        """The maximum over the frequencies 2 pi j / grid, to about 1e-10: the norm of a circular convolution.

        `tolerance` is of the supremum that it may be found by, which callers may want too.

        Raises:
            LimitError: that would take more than the model may.
        """
        if self._is_matrix:
            return self.unfolding(())
        if any(n < k for n, k in zip(grid, self.spatial, strict=True)):
            return self._wrapped(grid, tolerance, limit)
        if is_worth_it(self._weight, grid, limit):
            return self._interval(*whole_grid(self._scaled, grid), grid)
        small = is_small(grid, len(self._weight))
        if small or is_compressible(self._weight):
            self._begin(min(math.prod(grid), self._tiling.places))
        if found := self._few.grid_maximum(grid, purse := self._few.purse(limit)):
            return self._interval(*found, grid)
        known = None if small else self._supremum(min(tolerance, self._needed(grid)), limit)
        prover = Prover(self._gram, limit - purse.taken)
        level, peaks = grid_maximum(prover, self._tiling, grid, known)
        self.note(cut=prover.cut or (known is not None and known.cut))
        return self._interval(level, peaks, grid)

    def _wrapped(self, grid: tuple[int, ...], tolerance: float, limit: float) -> Interval:
        """The same where taps meet on the circle: they are added first, for they may cancel.

        Each sum of m taps is off by gamma_m of its terms. As scaled, none of them overflows.
        """
        taps = self._scaled.flatten(3)
        lost = gamma(taps.shape[-1]) * float(torch.linalg.vector_norm(taps, dim=(1, 2)).sum(-1).max())
        inner = (norms := Norms(wrapped(self._scaled, grid))).on_grid(grid, tolerance=tolerance, limit=limit)
        self._notes.update(norms._notes)
        lower, upper = round_down(inner.lower - lost), round_up(inner.upper + round_up(lost))
        return self._scale.restore(Interval(lower=max(0.0, lower), upper=upper))

    def wave(self, *, tolerance: float = AUXILIARY, limit: float = math.inf) -> PlaneWave:
        """The plane wave that the convolution amplifies nearly most."""
        found = self._supremum(tolerance, limit)
        block, index = int(found.peaks.block[0]), tuple(found.peaks.index[0].tolist())
        grid = (CONTINUUM,) * len(self.spatial)
        symbol, vector = symbol_at(self._scaled[block], index, grid), found.peaks.vector[0]
        if symbol.shape[0] <= symbol.shape[1]:
            left, right = vector, symbol.mH @ vector
        else:
            left, right = symbol @ vector.conj(), vector.conj()
        turns = tuple(i / n for i, n in zip(index, grid, strict=True))
        return PlaneWave(block=block, turns=turns, left=left, right=right)

    @cached_property
    def _is_matrix(self) -> bool:
        """Whether the symbol is the same at all frequencies."""
        return math.prod(self.spatial) == 1 or not self._weight.any()

    @cached_property
    def _scale(self) -> Scale:
        return Scale.of(self._weight)

    @cached_property
    def _scaled(self) -> torch.Tensor:
        return self._scale.apply(self._weight)

    @cached_property
    def _few(self) -> FewDirections:
        return FewDirections(self._scaled, self._tiling)

    @cached_property
    def _gram(self) -> GramSymbol:
        return gram_symbol(self._scaled)

    @cached_property
    def _tiling(self) -> Tiling:
        return tiling(self.spatial)

    def _needed(self, grid: tuple[int, ...]) -> float:
        """The tolerance of the supremum at which a search on that grid costs the same at every size.

        The maximum over a grid falls short of the supremum by the square of the distance of its points.
        """
        radius = sum(math.pi * (k - 1) / n for k, n in zip(self.spatial, grid, strict=True))
        return max(FINEST, radius**2 / 2)

    def _supremum(self, tolerance: float, limit: float) -> Supremum:
        """One that is known and as fine, or a new one."""
        for (finer, same), known in self._suprema.items():
            if finer <= tolerance and same == limit:
                return known
        self._begin(self._tiling.places)
        fine = 1.9 * tolerance  # of eigenvalues: (1 + t)^2 - 1, and something to spare
        found = self._few.supremum(fine, purse := self._few.purse(limit))
        if found is None:
            left = limit - purse.taken
            found = supremum(self._gram, self._tiling, UNKNOWN, tolerance=fine, limit=left)
        self._suprema[tolerance, limit] = found
        return found

    def _begin(self, places: int) -> None:
        """Ask for what a search takes before its first step, with so many frequencies to begin with."""
        shape = Shape.of(self._weight)
        limits.hold(shape.memory(places), SEARCH)
        limits.begin_search(shape.setup(places), SEARCH)

    def _interval(self, level: float, peaks: Peaks, grid: tuple[int, ...]) -> Interval:
        """From a proven upper end of H's eigenvalues, and a point where it is nearly attained."""
        symbol = symbol_at(self._scaled[int(peaks.block[0])], tuple(peaks.index[0].tolist()), grid)
        wide = symbol if symbol.shape[0] <= symbol.shape[1] else symbol.mT
        quotient = rayleigh_lower(wide.mH, peaks.vector[0])
        lower = max(0.0, round_down(quotient - symbol_error(self._scaled)))
        upper = round_up(math.sqrt(level))
        return self._scale.restore(Interval(lower=min(lower, upper), upper=upper))
