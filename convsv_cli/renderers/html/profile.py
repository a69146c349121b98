"""All layers at a glance: their norms over the depth of the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.renderers.html.figures import Figures, figures_of
from convsv_cli.renderers.html.gates import limits_of
from convsv_cli.renderers.html.scale import Scale, scale_of
from convsv_cli.renderers.numbers import counted, figure
from convsv_cli.report import CERTIFIED, Audit, LayerAudit

CROWDED = 60
FEW = 12
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9)
"""Layers from one number below the chart to the next, so that there are few of them."""
FEWEST = 3
"""Layers: fewer have no profile."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A layer in the chart: places in percent, from the left and from the top; None where there is none."""

    name: str
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
    limits = limits_of(audit.verdict)
    figures = [figures_of(layer, limits.get(layer.name)) for layer in audit.layers]
    scale = scale_of(value for each in figures for value in each.logs())
    stops = tuple(_stops(audit.layers, figures, scale))
    if len(stops) < FEWEST:
        return None
    largest = min(stops, key=lambda stop: stop.top)
    return Profile(
        scale=scale,
        stops=stops,
        largest=largest,
        crowded=len(stops) > CROWDED,
        numbers=_numbers(len(audit.layers)),
        words=_words(audit, stops),
    )


def _stops(layers: tuple[LayerAudit, ...], figures: list[Figures], scale: Scale) -> Iterator[Stop]:
    width = 100 / max(1, len(layers))

    def down(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else round(100 - scale.at(value), 2)

    for i, (layer, each) in enumerate(zip(layers, figures, strict=True)):
        if each.enclosure is None or not math.isfinite(each.enclosure[1]):
            continue
        lower, upper = each.enclosure
        yield Stop(
            name=layer.name,
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


def _numbers(count: int) -> tuple[tuple[float, int], ...]:
    """Every so many layers, where it is and its number."""
    every = next(step for step in STEPS if count <= FEW * step)
    chosen = [i for i in range(1, count + 1) if i == 1 or i % every == 0]
    return tuple((round((i - 0.5) * 100 / count, 2), i) for i in chosen)


def _words(audit: Audit, stops: tuple[Stop, ...]) -> str:
    uppers = [
        (m.enclosure.upper, layer.name)
        for layer in audit.layers
        if (m := layer.measurement("certified")) is not None and m.enclosure is not None
    ]
    if not uppers:
        return ""
    (most, top), (least, bottom) = max(uppers), min(uppers)
    above = sum(stop.exceeds for stop in stops)
    judged = any(stop.limit is not None for stop in stops)
    limits = f" {counted(above, 'layer')} beyond the limit." if judged else ""
    return (
        f"Certified norms of {counted(len(stops), 'layer')} in the order of the file, on a logarithmic axis. "
        f"The largest is {top} at {figure(most, CERTIFIED)}, "
        f"the smallest {bottom} at {figure(least, CERTIFIED)}.{limits} The table below has every figure."
    )
