"""What charts show of a layer: its certified norm, the bound and the estimate beside it, and its limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.renderers.html.scale import Scale, log
from convsv_cli.renderers.html.track import (
    BOUND,
    ESTIMATE,
    EXCEEDING,
    INTERVAL,
    LIMIT,
    RANGE,
    Mark,
    Track,
    point,
)
from convsv_cli.renderers.numbers import LOWER, as_written, figure
from convsv_cli.report import CERTIFIED, EXCEEDED, UPPER, Gate, Interval, LayerAudit, Measurement


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a chart shows of a layer, as decimal logarithms; what there is none of is absent."""

    enclosure: tuple[float, float] | None
    estimate: float | None
    bound: float | None
    limit: float | None
    exceeds: bool

    def logs(self) -> Iterator[float]:
        """All that must be on the axis."""
        yield from self.enclosure or ()
        yield from (value for value in (self.estimate, self.bound, self.limit) if value is not None)


def figures_of(layer: LayerAudit, gate: Gate | None) -> Figures:
    """Of a layer and the limit on it."""
    enclosure = _enclosure(layer, gate)
    ends = None if enclosure is None else (log(enclosure.lower), log(enclosure.upper))
    return Figures(
        enclosure=ends,
        estimate=_log(layer.measurement("heuristic")),
        bound=_log(layer.measurement("bound")),
        limit=None if gate is None else log(gate.limit),
        exceeds=gate is not None and gate.outcome == EXCEEDED,
    )


def track_of(layer: LayerAudit, gate: Gate | None, scale: Scale, figures: Figures) -> Track | None:
    """The marks of a layer; None where nothing is certified."""
    enclosure = _enclosure(layer, gate)
    if enclosure is None:
        return None
    words = [f"from {figure(enclosure.lower, LOWER)} to {figure(enclosure.upper, CERTIFIED)}"]
    for name, kind in (("bound", UPPER), ("heuristic", "")):
        measurement = layer.measurement(name)
        words += [] if measurement is None else [f"{name} {figure(measurement.value, kind)}"]
    words += [] if gate is None else [f"limit {as_written(gate.limit)}, {gate.outcome}"]
    return Track(words=", ".join(words), marks=tuple(_marks(scale, figures)))


def _marks(scale: Scale, figures: Figures) -> Iterator[Mark]:
    """From the back to the front."""
    beside = [value for value in (figures.estimate, figures.bound) if value is not None]
    if len(beside) == 2:
        yield Mark(kind=RANGE, start=scale.at(min(beside)), end=scale.at(max(beside)))
    if figures.limit is not None:
        yield point(LIMIT, scale.at(figures.limit))
    if figures.bound is not None:
        yield point(BOUND, scale.at(figures.bound))
    if figures.estimate is not None:
        yield point(ESTIMATE, scale.at(figures.estimate))
    if figures.enclosure is not None:
        kind = EXCEEDING if figures.exceeds else INTERVAL
        yield Mark(kind=kind, start=scale.at(figures.enclosure[0]), end=scale.at(figures.enclosure[1]))


def _enclosure(layer: LayerAudit, gate: Gate | None) -> Interval | None:
    """What is proven for every input size: by a gate, which may have tried harder, or by the audit."""
    if gate is not None and gate.enclosure is not None:
        return gate.enclosure
    certified = layer.measurement("certified")
    return None if certified is None else certified.enclosure


def _log(measurement: Measurement | None) -> float | None:
    return None if measurement is None else log(measurement.value)
