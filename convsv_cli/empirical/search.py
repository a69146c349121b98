"""Looks for two points whose values are far apart for their distance.

Every ratio is one of a secant, so only rounding can lift it above the Lipschitz constant. What rounding does
is measured where a ratio is the best so far: both points are moved by a few roundings of their entries, at
random. What that changes, and the rounding of the values, is taken off; where it is a large share, the ratio
does not count. Steps are as large as a hundredth of a point, so that little is lost.

Without gradients there is no power iteration. But differences along k directions give J V [m, k] for the
Jacobian J, and the best direction in their span follows from its singular vectors. A few of the best stay in
the span, new ones join: waves of few periods in single channels, at which convolutions peak, and random ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convsv_cli.empirical.function import Function, Port

SPAN, KEPT = 32, 4  # directions at a time, and how many of them stay
ENTRIES = 2**25  # of values that are kept at a time
STEP = 0.01  # of a point's length
MULTIPLES = (1.0, 0.25, 4.0, 16.0, -1.0)  # of that, tried along the best direction
SHARE = 0.1  # of a difference: what rounding may change of it
TINY = 1e-300
TRIALS = 4
PERIODS = 8
MARGIN = 8.0  # times rounding, where a ratio would contradict a proof
HALVINGS = 20


class Search:
    """The best ratio so far, and what it took."""

    def __init__(
        self,
        function: Function,
        points: NDArray[np.float64],
        box: tuple[float, float] | None,
        seed: int,
    ) -> None:
        self.ratio, self.pairs, self.directions = 0.0, 0, 0
        self.best = points[0], points[0]
        self._function, self._points, self._box = function, points, box
        self._random = np.random.default_rng(seed)
        self._waves = _waves(function, self._random)
        self._base = points[0]
        self._kept = np.zeros((0, function.size))
        function.try_batches(points[:2])
        values = function(points[:1]).shape[1]
        self._most = max(2, ENTRIES // max(values, function.size))
        self._span = min(SPAN, max(2, function.size), self._most)

    def compare(self, pairs: int) -> None:
        """Pairs of points, as many as asked for and as memory allows; starts from the best of them."""
        count = min(len(self._points), self._most, math.isqrt(2 * pairs) + 1)
        points = self._points[:count]
        values = self._function(points)
        chosen = list(itertools.combinations(range(count), 2))[:pairs]
        self.pairs += len(chosen)
        ranked = sorted(
            chosen, key=lambda ij: -_ratio(values[ij[0]] - values[ij[1]], points[ij[0]] - points[ij[1]])
        )
        for i, j in ranked[:3]:
            if self._try(points[i], points[j]):
                self._base, self._kept = points[i], (points[j] - points[i])[None]

    def improve(self) -> None:
        """The best of some directions at a point, then the best point for it."""
        moved, values = self._differences()
        best = _best_combinations(moved, values)
        if not len(best):
            return
        self._kept = best[:KEPT]
        length = self._step()
        for multiple in MULTIPLES:
            self._try(self._base, self._inside(self._base + multiple * length * best[0]))
        self._move(best[0] * length)

    def _differences(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Steps [k, n] from the base, and what they change of the values [k, m]."""
        room = self._span - len(self._kept)
        waves = list(itertools.islice(self._waves, room // 2))
        random = self._random.standard_normal((room - len(waves), self._function.size))
        stacked = np.array([*self._kept, *waves, *random])
        stacked /= np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), TINY)
        unit = _orthonormal(stacked) @ stacked
        length = self._step()
        ends = self._inside(self._base + length * unit)
        values = self._function(np.concatenate([self._base[None], ends]))
        self.directions += len(ends)
        return ends - self._base, values[1:] - values[0]

    def _step(self) -> float:
        return STEP * (float(np.linalg.norm(self._base)) or math.sqrt(self._function.size))

    def _move(self, step: NDArray[np.float64]) -> None:
        """To the one of some points where a step changes most."""
        others = self._points[self._random.integers(0, len(self._points), TRIALS)]
        starts = np.concatenate([self._base[None], others])
        ends = self._inside(starts + step)
        self.directions += len(ends)
        changes = self._function(ends) - self._function(starts)
        ratios = [
            _ratio(change, end - start) for change, end, start in zip(changes, ends, starts, strict=True)
        ]
        self._base = starts[int(np.argmax(ratios))]

    def _inside(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """In the box, and rounded as the model is given them."""
        if self._box is not None:
            points = points.clip(*self._box)
        return self._function.rounded(np.atleast_2d(points))[0 if points.ndim == 1 else slice(None)]

    def _try(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> bool:
        """Take the ratio of two points if it is the best so far, less what rounding may have added."""
        signs = self._random.choice([-1.0, 1.0], (2, *x.shape))
        near = self._inside(np.stack([x, y]) * (1 + 2 * self._function.precision * signs))
        ratio = secant(self._function, np.stack([x, y]), near)
        better = self.ratio < ratio < math.inf
        if better:
            self.ratio, self.best = ratio, (x, y)
        return better


def secant(
    function: Function, points: NDArray[np.float64], near: NDArray[np.float64], *, margin: float = 1.0
) -> float:
    """The ratio of two points [2, n], less what rounding may have added to it; 0 where that is much.

    Args:
        function: what is run.
        points: those two.
        near: two points within a few roundings of them.
        margin: how many times the observed rounding is subtracted.
    """
    values = function.alone(np.concatenate([points, near]))
    change = float(np.linalg.norm(values[0] - values[1]))
    noise = sum(float(np.linalg.norm(values[i] - values[i + 2])) for i in (0, 1))
    noise += function.precision / 2 * float(np.linalg.norm(values[:2], axis=1).sum())
    if not change or not margin * noise <= SHARE * change:
        return 0.0
    return _ratio(values[0] - values[1], points[0] - points[1]) * (1 - margin * noise / change)


def without_jumps(function: Function, points: NDArray[np.float64]) -> float:
    """The ratio of two points [2, n], less the change that is left between neighbours.

    Of two halves of the way, that with the larger change is gone on with. What is steep changes half as much
    each time; a jump does not: it is one of rounding, or of a function that has no Lipschitz constant.
    """
    first, last = points
    values = function.alone(points)
    change, way = float(np.linalg.norm(values[0] - values[1])), points[0] - points[1]
    for _ in range(HALVINGS):
        middle = function.rounded((first + last)[None] / 2)[0]
        between = function.alone(middle[None])[0]
        parts = [float(np.linalg.norm(between - value)) for value in values]
        if parts[0] >= parts[1]:
            last, values = middle, np.stack([values[0], between])
        else:
            first, values = middle, np.stack([between, values[1]])
    left = float(np.linalg.norm(values[0] - values[1]))
    length = float(np.linalg.norm(way))
    ratio = (change - MARGIN * left) / length if length else 0.0
    return ratio if 0 <= ratio < math.inf else 0.0


def _ratio(change: NDArray[np.float64], step: NDArray[np.float64]) -> float:
    """0 where nothing moved, or where a value is no number."""
    length, change_length = float(np.linalg.norm(step)), float(np.linalg.norm(change))
    return change_length / length if length > 0 and math.isfinite(change_length) else 0.0


def _best_combinations(steps: NDArray[np.float64], changes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit combinations [r, n] of steps, those first whose changes are the longest, as if all were linear."""
    good = np.isfinite(changes).all(1) & steps.any(1)
    steps, changes = steps[good], changes[good]
    weights = _orthonormal(steps)
    images = weights @ changes
    _, order = np.linalg.eigh(images @ images.T)
    combinations: NDArray[np.float64] = order[:, ::-1].T @ weights @ steps
    return combinations


def _orthonormal(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights [r, k] that make rows [k, n] orthonormal; directions that nearly agree count once."""
    squares, basis = np.linalg.eigh(rows @ rows.T)
    usable = squares > 1e-6 * squares.max(initial=0.0)
    weights: NDArray[np.float64] = (basis[:, usable] / np.sqrt(squares[usable])).T
    return weights


def _waves(function: Function, random: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Products of cosines along the spatial axes of one channel of one input: few periods come first."""
    imaged = [port for port in function.real if len(port.shape) > 2]
    spectra = [
        sorted(itertools.product(range(PERIODS), repeat=len(port.shape) - 2), key=sum) for port in imaged
    ]
    offsets = np.cumsum([0, *(port.size for port in function.real)])
    for periods in itertools.chain.from_iterable(itertools.zip_longest(*spectra)):
        for port in imaged:
            if periods is None or len(periods) != len(port.shape) - 2:
                continue
            for channel in range(min(port.shape[1], 4)):
                whole = np.zeros(function.size)
                start = offsets[function.real.index(port)]
                whole[start : start + port.size] = _wave(port, channel, periods, random).ravel()
                yield whole


def _wave(
    port: Port, channel: int, periods: tuple[int, ...], random: np.random.Generator
) -> NDArray[np.float64]:
    wave = np.zeros(port.shape)
    factors = [
        np.cos(2 * np.pi * (count * np.arange(size) / size + (random.random() if count else 0.0)))
        for count, size in zip(periods, port.shape[2:], strict=True)
    ]
    product = factors[0]
    for factor in factors[1:]:
        product = np.multiply.outer(product, factor)
    wave[:, channel] = product
    return wave
