"""Local maxima of the largest eigenvalue of a Gram symbol: estimates, to be proven elsewhere."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch

from convsv_cli.spectral.cores import parallel_map
from convsv_cli.spectral.costs import chunk_size
from convsv_cli.spectral.definition import phases
from convsv_cli.spectral.eigenpairs import lanczos, start_vector, top_pair
from convsv_cli.spectral.gram_symbol import GramSymbol

NEWTON_STEPS = 2
STEPS = 6
ROUNDS = 8
SINGLE = 1e-5  # relative: what Lanczos steps in single precision can safely tell apart
CLIMBED = 4  # times below the tolerance: what else a climb would gain
SUMMIT = 9e-6  # relative: what else it would gain of the highest point, which a search rests on
CONTENDER = 0.95  # of the highest: what is lower is no reason to go on


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Points of a grid, and how large the eigenvalue is there, largest first.

    Attributes:
        block: int64 [n].
        index: int64 [n, axes], frequencies 2 pi index / grid.
        value: float64 [n], not above the largest eigenvalue but for rounding.
        vector: complex64 [n, p].
    """

    block: torch.Tensor
    index: torch.Tensor
    value: torch.Tensor
    vector: torch.Tensor

    @property
    def top(self) -> float:
        """The value at the first of them."""
        return float(self.value[0])

    def best(self, count: int) -> Peaks:
        """The first of them."""
        order = self.value.argsort(descending=True, stable=True)[:count]
        return Peaks(
            block=self.block[order],
            index=self.index[order],
            value=self.value[order],
            vector=self.vector[order],
        )

    def above(self, others: Peaks) -> Peaks:
        """These instead of the first of `others`, if they are higher than it."""
        if self.top <= others.top:
            return others
        count = len(self.value)
        vector = torch.cat([self.vector, others.vector[count:].to(self.vector.dtype)])
        index, block = (
            torch.cat([self.index, others.index[count:]]),
            torch.cat([self.block, others.block[count:]]),
        )
        return Peaks(
            block=block, index=index, value=torch.cat([self.value, others.value[count:]]), vector=vector
        )


def turns_of(index: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """Grid points in turns: int64 [n, axes] -> float64 [n, axes]."""
    return index.double() / torch.tensor(grid, dtype=torch.float64, device=index.device)


def nearest(turns: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """The nearest grid points: float64 [n, axes] -> int64 [n, axes]."""
    sizes = torch.tensor(grid, dtype=torch.float64, device=turns.device)
    return (turns * sizes).round().long().remainder(sizes.long())


def measured(
    gram: GramSymbol,
    block: torch.Tensor,
    index: torch.Tensor,
    grid: tuple[int, ...],
    start: torch.Tensor | None = None,
    *,
    steps: int = STEPS,
) -> Peaks:
    """How large the eigenvalue is at grid points, by a few Lanczos steps in single precision."""
    if start is None:
        start = start_vector(gram.side, gram.device).to(torch.complex64).expand(len(block), -1)

    def measure(chunk: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        some, places, begin = chunk
        return lanczos(gram.at(some, turns_of(places, grid), torch.complex64), begin, steps)

    size = chunk_size(len(block), gram.shape, torch.complex64.itemsize)
    chunks = list(zip(*(torch.split(each, size) for each in (block, index, start)), strict=True))
    found = parallel_map(measure, chunks)
    value, vector = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Peaks(block=block, index=index, value=value, vector=vector)


def climb(gram: GramSymbol, peaks: Peaks, grid: tuple[int, ...], tolerance: float) -> Peaks:
    """Walk uphill from each point until less than `tolerance`, relative, is gained; resolve the highest.

    For a fixed unit v, v* H(theta) v is a trigonometric polynomial below the largest eigenvalue. Newton
    steps find its maximum, Lanczos steps a better v there, and so on.
    """
    for _ in range(ROUNDS):
        found = measured(gram, peaks.block, summits(gram, peaks, peaks.index, grid), grid, peaks.vector)
        better = found.value > peaks.value
        gains = torch.where(found.value > CONTENDER * peaks.value.max(), found.value / peaks.value, 1.0)
        peaks = replace(
            peaks,
            index=torch.where(better[:, None], found.index, peaks.index),
            value=torch.where(better, found.value, peaks.value),
            vector=torch.where(better[:, None], found.vector, peaks.vector),
        )
        if float(gains.max()) < 1 + tolerance:
            break
    peaks = resolved(gram, peaks.best(len(peaks.value)), grid)
    return _polished(gram, peaks, grid, tolerance) if tolerance < SINGLE else peaks


def ascend(gram: GramSymbol, peaks: Peaks, grid: tuple[int, ...], tolerance: float) -> Peaks:
    """Climb from all of them to a part of the tolerance, and from the highest to its summit."""
    rough = climb(gram, peaks, grid, tolerance / CLIMBED)
    if tolerance / CLIMBED < SUMMIT:
        return rough
    return climb(gram, rough.best(1), grid, SUMMIT).above(rough)


def _polished(gram: GramSymbol, peaks: Peaks, grid: tuple[int, ...], tolerance: float) -> Peaks:
    """The first of the points moved on, with values in double precision."""
    for _ in range(ROUNDS):
        first = peaks.best(1)
        index = summits(gram, first, first.index, grid)
        moved = resolved(gram, replace(first, index=index), grid)
        if moved.top <= peaks.top:
            break
        gained, peaks = moved.top / peaks.top - 1, moved
        if gained < tolerance:
            break
    return peaks


def resolved(gram: GramSymbol, peaks: Peaks, grid: tuple[int, ...]) -> Peaks:
    """The same, with value and vector of the first one to double precision."""
    matrix = gram.at_one(peaks.block[:1], turns_of(peaks.index[:1], grid))
    top, vector = top_pair(matrix, peaks.vector[0])
    value, vectors = peaks.value.clone(), peaks.vector.to(torch.complex128)
    value[0], vectors[0] = top, vector
    return replace(peaks, value=value, vector=vectors)


def summits(gram: GramSymbol, peaks: Peaks, start: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """The grid points near `start` at which the peaks' v* H v are largest."""
    if not len(gram.lags):
        return start
    return uphill(gram.lags, gram.forms(peaks.block, peaks.vector.to(torch.complex64)), start, grid)


def uphill(
    lags: torch.Tensor, forms: torch.Tensor, start: torch.Tensor, grid: tuple[int, ...]
) -> torch.Tensor:
    """The grid points near `start` at which `forms . phases` are largest: Newton, then corners.

    Args:
        lags: float64 [lags, axes].
        forms: float64 [n, 1 + 2 lags].
        start: int64 [n, axes].
        grid: number of points on each axis.
    """
    turns = turns_of(start, grid)
    for _ in range(NEWTON_STEPS):
        turns = turns + _newton_step(lags, forms, turns)
    axes = len(grid)
    around = torch.tensor(list(itertools.product((0, 1), repeat=axes)), device=start.device).reshape(-1, axes)
    sizes = torch.tensor(grid, device=start.device)
    corners = ((turns * sizes).floor().long()[:, None] + around).remainder(sizes)
    candidates = torch.cat([start[:, None], corners], 1)
    waves = phases(lags, turns_of(candidates.flatten(0, 1), grid)).view(*candidates.shape[:2], -1)
    choice = (waves @ forms[:, :, None])[..., 0].argmax(1)
    return candidates[torch.arange(len(start), device=start.device), choice]


def _newton_step(lags: torch.Tensor, forms: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Uphill on forms . phases: the gradient over the absolute curvatures, at most 1 / (4 degree) long."""
    cosine, sine = phases(lags, turns)[:, 1:].chunk(2, 1)
    along, across = forms[:, 1:].chunk(2, 1)
    slope = (across * cosine - along * sine) @ lags
    bend = torch.einsum("nl,li,lj->nij", -(along * cosine + across * sine), lags, lags)
    curvatures, directions = torch.linalg.eigh(bend)
    scale = forms.abs().sum(1, keepdim=True) * 1e-12 + 1e-300
    steps = (directions.mT @ slope[..., None])[..., 0] / curvatures.abs().clamp_min(scale)
    step: torch.Tensor = (directions @ steps[..., None])[..., 0] / (2 * math.pi)
    limit = 0.25 / (lags.abs().amax(0) + 1)
    return step.clamp(-limit, limit)
