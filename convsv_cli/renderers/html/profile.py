"""All layers at a glance: their norms over the depth of the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.renderers.html.axis import Scale, scale_of
from convsv_cli.renderers.html.layers import Figures, figures_of
from convsv_cli.renderers.html.verdict import certified_ends
from convsv_cli.renderers.numbers import counted, figure
from convsv_cli.report import CERTIFIED, Audit

CROWDED = 60
FEW = 12
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9)
"""Layers from one number below the chart to the next, so that there are few of them."""
FEWEST = 3
"""Layers: fewer have no profile."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A layer in the chart: places in percent, from the left and from the top; None where there is none.

    `words` has all figures of the layer, with all of their digits.
    """

    name: str
    words: str
    at: float
    left: float
    right: float
    top: float
    bottom: float
    estimate: float | None
    bound: float | None
    limit: float | None
    exceeds: bool


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The chart: its stops, its axes (where a layer is, and its number), and all of it in words."""

    scale: Scale
    stops: tuple[Stop, ...]
    largest: Stop
    crowded: bool
    numbers: tuple[tuple[float, int], ...]
    words: str


def profile_of(audit: Audit) -> Profile | None:
    """The chart; None where too few layers have a certified norm."""
    figures = figures_of(audit)
    scale = scale_of(value for each in figures for value in each.logs())
    stops = tuple(_stops(figures, scale))
    if len(stops) < FEWEST:
        return None
    return Profile(
        scale=scale,
        stops=stops,
        largest=min(stops, key=lambda stop: stop.top),
        crowded=len(stops) > CROWDED,
        numbers=numbers_below(len(figures)),
        words=_words(audit, stops),
    )


def _stops(figures: tuple[Figures, ...], scale: Scale) -> Iterator[Stop]:
    width = 100 / max(1, len(figures))

    def down(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else round(100 - scale.at(value), 2)

    for i, each in enumerate(figures):
        if each.ends is None or not math.isfinite(each.ends[1]):
            continue
        lower, upper = each.ends
        yield Stop(
            name=each.layer.name,
            words=_exactly(each),
            at=round((i + 0.5) * width, 2),
            left=round(i * width, 2),
            right=round((i + 1) * width, 2),
            top=round(100 - scale.at(upper), 2),
            bottom=round(100 - scale.at(lower), 2),
            estimate=down(each.estimate),
            bound=down(each.bound),
            limit=down(each.limit),
            exceeds=each.exceeds,
        )


def numbers_below(count: int) -> tuple[tuple[float, int], ...]:
    """The numbers below a chart of so many layers: where each layer that has one is, and its number."""
    every = next(step for step in STEPS if count <= FEW * step)
    chosen = [i for i in range(1, count + 1) if i == 1 or i % every == 0]
    return tuple((round((i - 0.5) * 100 / count, 2), i) for i in chosen)


def _exactly(each: Figures) -> str:
    """The figures of a layer, as a reader sees them who points at it."""
    proven, layer = each.enclosure, each.layer
    said = [] if proven is None else [f"certified {proven.lower!r} to {proven.upper!r}"]
    for name in ("exact", "bound", "heuristic"):
        found = layer.measurement(name)
        said += [] if found is None else [f"{name} {found.value!r}"]
    said += [] if each.gate is None else [f"limit {each.gate.limit!r}, {each.gate.outcome}"]
    said += [] if layer.parameters is None else [f"{layer.parameters:,} parameters"]
    said += [] if layer.macs is None else [f"{layer.macs:,} MACs"]
    return f"{layer.name}: {', '.join(said)}"


def _words(audit: Audit, stops: tuple[Stop, ...]) -> str:
    uppers = certified_ends(audit)
    if not uppers:
        return ""
    (most, top), (least, bottom) = max(uppers), min(uppers)
    above = sum(stop.exceeds for stop in stops)
    judged = any(stop.limit is not None for stop in stops)
    limits = f" {counted(above, 'layer')} beyond their limit." if judged else ""
    return (
        f"Certified norms of {counted(len(stops), 'layer')} in the order of the file, on a logarithmic axis. "
        f"The largest is {top} at {figure(most, CERTIFIED)}, "
        f"the smallest {bottom} at {figure(least, CERTIFIED)}.{limits} The table below has every figure."
    )
