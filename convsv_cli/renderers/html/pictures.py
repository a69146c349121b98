"""Pictures of singular values: their density, the values by rank, and stable ranks over the depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from convsv_cli.renderers.html.axis import Scale, Tick, scale_of
from convsv_cli.renderers.html.profile import FEWEST, numbers_below
from convsv_cli.renderers.numbers import counted, figure
from convsv_cli.report import Audit, Distribution

RANK = "rank"
Point = tuple[float, float]
"""Decimal logarithms: to the right, and up."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A line on two logarithmic axes.

    Attributes:
        right, up: what the axes are.
        across, upward: their scales.
        path: of the line, in percent from the left and from the top.
        words: the same for those who do not see it.
    """

    right: str
    up: str
    across: Scale
    upward: Scale
    path: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A layer's stable rank: where it is drawn, in percent, and in words."""

    left: float
    width: float
    at: float
    top: float
    words: str


@dataclass(frozen=True, kw_only=True)
class StableRanks:
    """The stable ranks of layers over the depth of the network, on one axis."""

    scale: Scale
    dots: tuple[Dot, ...]
    numbers: tuple[tuple[float, int], ...]
    words: str


def density_of(found: Distribution) -> Picture | None:
    """The share of the squares of all singular values per unit, from the bins of the histogram.

    These are the eigenvalues of the layer's Gram matrix, whose density others fit power laws to. A bin that
    begins at zero has no place on a logarithmic axis; None where fewer than two others hold a value.
    """
    width = found.edge / len(found.histogram)
    steps = [
        (2 * math.log10(i * width), 2 * math.log10((i + 1) * width), math.log10(count / found.count / area))
        for i, count in enumerate(found.histogram)
        if i and count and (area := (2 * i + 1) * width * width) > 0
    ]
    if len(steps) < FEWEST - 1:
        return None
    runs: list[list[Point]] = []
    for low, high, density in steps:
        if not runs or not math.isclose(runs[-1][-1][0], low, abs_tol=1e-9):
            runs.append([])
        runs[-1] += [(low, density), (high, density)]
    left = found.histogram[0]
    below = f" {left:,} below {figure(width**2)} are not drawn." if left else ""
    return _picture(
        runs,
        right="square of a singular value",
        up="share per unit",
        words=f"Density of the squares of {counted(found.count, 'singular value')}, by the histogram.{below}",
    )


def ranks_of(found: Distribution) -> Picture | None:
    """The singular values from the largest to the smallest; exact where a bin of the histogram ends.

    None where there are fewer than two, or nothing but zeros.
    """
    width = found.edge / len(found.histogram)
    points = [(0.0, found.largest)] if found.largest > 0 else []
    above = 0
    for i in reversed(range(1, len(found.histogram))):
        above += found.histogram[i]
        if above and i * width < found.largest:
            points.append((math.log10(above), i * width))
    if found.smallest > 0:
        points.append((math.log10(found.count), found.smallest))
    logs = [(rank, math.log10(value)) for rank, value in points]
    if len(logs) < FEWEST - 1 or found.count < FEWEST - 1:
        return None
    return _picture(
        [logs],
        right=RANK,
        up="singular value",
        words=(
            f"Singular values by rank: {figure(found.largest)} is the first, "
            f"{'0' if found.vanishing else figure(found.smallest)} the last of {found.count:,}."
        ),
    )


def stable_ranks_of(audit: Audit) -> StableRanks | None:
    """Of the layers whose spectra were asked for; None where there are too few to speak of depth."""
    ranks = {spectrum.layer: spectrum.distribution.stable_rank for spectrum in audit.spectra}
    known = [
        (i, layer.name, ranks[layer.name]) for i, layer in enumerate(audit.layers) if layer.name in ranks
    ]
    drawn = [(i, name, rank) for i, name, rank in known if rank > 0 and math.isfinite(rank)]
    if len(drawn) < FEWEST:
        return None
    scale = scale_of(math.log10(rank) for _, _, rank in drawn)
    width = 100 / len(audit.layers)
    dots = tuple(
        Dot(
            left=round(i * width, 2),
            width=round(width, 2),
            at=round((i + 0.5) * width, 2),
            top=round(100 - scale.at(math.log10(rank)), 2),
            words=f"{name}: stable rank {rank!r}",
        )
        for i, name, rank in drawn
    )
    (least, low), (most, high) = (end((rank, name) for _, name, rank in drawn) for end in (min, max))
    ends = f"from {figure(least)} ({low}) to {figure(most)} ({high})"
    words = f"Stable ranks of {counted(len(dots), 'layer')}: {ends}."
    return StableRanks(scale=scale, dots=dots, numbers=numbers_below(len(audit.layers)), words=words)


def _picture(runs: Sequence[Sequence[Point]], *, right: str, up: str, words: str) -> Picture:
    across = scale_of(x for run in runs for x, _ in run)
    if right == RANK:
        across = replace(across, low=0.0)  # at the first, before which there is none
    upward = scale_of(y for run in runs for _, y in run)
    path = "".join(_line(run, across, upward) for run in runs)
    return Picture(right=right, up=up, across=across, upward=upward, path=path, words=words)


def _line(run: Sequence[Point], across: Scale, upward: Scale) -> str:
    return "M" + "L".join(f"{across.at(x):g} {100 - upward.at(y):g}" for x, y in run)


def few(ticks: Sequence[Tick], most: int = 5) -> Iterator[Tick]:
    """Some of an axis' ticks, evenly, with the first: a small chart has no room for all of their labels."""
    every = max(1, math.ceil(len(ticks) / most))
    yield from ticks[::every]
