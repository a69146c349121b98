"""The layers: a row each, with its figures and where they lie on one axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.renderers.coverage_text import why_no_figures
from convsv_cli.renderers.html.figures import figures_of, track_of
from convsv_cli.renderers.html.gates import SYMBOLS, TONES, limits_of
from convsv_cli.renderers.html.scale import Scale, scale_of
from convsv_cli.renderers.html.track import BOUND, ESTIMATE, EXCEEDING, INTERVAL, LIMIT, Track
from convsv_cli.renderers.html.words import size, sort_key, times
from convsv_cli.renderers.numbers import LOWER, as_written, figure
from convsv_cli.report import (
    AUDITED,
    CERTIFIED,
    EXCEEDED,
    NOT_APPLICABLE,
    PADDED,
    Audit,
    Gate,
    LayerAudit,
    Measurement,
    Method,
)

NUMBER, TEXT = "number", "text"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading, and how a reader may sort by it; `title` says what it proves."""

    name: str
    sort: str
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Text, the number that it is sorted by, and what its symbol means, for those who only hear it."""

    text: str
    key: str | None = None
    tone: str = ""
    spoken: str = ""


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer; `reason` where it has no figures."""

    position: int
    name: str
    detail: str
    reason: str
    track: Track | None
    cells: tuple[Cell, ...]
    tone: str


@dataclass(frozen=True, kw_only=True)
class LayerTable:
    """All rows on one axis, and which marks there are on it."""

    scale: Scale
    columns: tuple[Column, ...]
    rows: tuple[LayerRow, ...]
    marks: tuple[str, ...]


def layer_table(audit: Audit) -> LayerTable:
    """The rows in the network's order."""
    limits = limits_of(audit.verdict)
    figures = [figures_of(layer, limits.get(layer.name)) for layer in audit.layers]
    scale = scale_of(value for each in figures for value in each.logs())
    ran = [m for m in audit.methods if any(layer.measurement(m.name) for layer in audit.layers)]
    judged = any(layer.name in limits for layer in audit.layers)
    rows = tuple(
        _row(
            i,
            layer,
            gate := limits.get(layer.name),
            track_of(layer, gate, scale, each),
            tuple(_cells(layer, gate, ran, judged=judged)),
        )
        for i, (layer, each) in enumerate(zip(audit.layers, figures, strict=True), start=1)
    )
    drawn = {mark.kind for row in rows if row.track for mark in row.track.marks}
    return LayerTable(
        scale=scale,
        columns=(*_columns(ran), *((Column(name="limit", sort=NUMBER),) if judged else ())),
        rows=rows,
        marks=tuple(kind for kind in (INTERVAL, EXCEEDING, BOUND, ESTIMATE, LIMIT) if kind in drawn),
    )


def _columns(methods: list[Method]) -> Iterator[Column]:
    for method in methods:
        name = method.column or method.name.replace("_", "-")
        yield Column(name=name, sort=NUMBER, title=method.proves)


def _row(
    position: int, layer: LayerAudit, gate: Gate | None, track: Track | None, cells: tuple[Cell, ...]
) -> LayerRow:
    exceeds = gate is not None and gate.outcome == EXCEEDED
    return LayerRow(
        position=position,
        name=layer.name,
        detail=_detail(layer),
        reason=why_no_figures(layer),
        track=track,
        cells=cells,
        tone="warn" if layer.status not in (AUDITED, NOT_APPLICABLE) else "fail" if exceeds else "",
    )


def _cells(layer: LayerAudit, gate: Gate | None, methods: list[Method], *, judged: bool) -> Iterator[Cell]:
    for method in methods:
        yield _cell(layer.measurement(method.name), method)
    if judged:
        yield _limit(gate)


def _cell(measurement: Measurement | None, method: Method) -> Cell:
    if measurement is None:
        return Cell(text="")
    if method.kind == PADDED and measurement.enclosure is not None:
        ends = measurement.enclosure
        return Cell(
            text=f"{figure(ends.lower, LOWER)} … {figure(ends.upper, CERTIFIED)}", key=sort_key(ends.upper)
        )
    return Cell(text=figure(measurement.value, method.kind), key=sort_key(measurement.value))


def _limit(gate: Gate | None) -> Cell:
    if gate is None:
        return Cell(text="")
    text = f"{SYMBOLS[gate.outcome]} {as_written(gate.limit)}"
    return Cell(text=text, key=sort_key(gate.limit), tone=TONES[gate.outcome], spoken=gate.outcome)


def _detail(layer: LayerAudit) -> str:
    """The operator and its geometry."""
    said = {"stride": layer.stride, "dilation": layer.dilation, "groups": (layer.groups,)}
    extras = [f"{name} {size(value)}" for name, value in said.items() if set(value) - {1}]
    n = [f"n {size(layer.input_size)}"] if layer.input_size else []
    also = [f"also {alias}" for alias in layer.aliases]
    return " · ".join([f"{layer.op} {times(layer.kernel_shape)}", *extras, *n, *also])
