"""The layers: the figures of each, where they lie on one axis, and histograms of singular values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from convsv_cli.renderers.columns import SPREAD, spread_of, update_details
from convsv_cli.renderers.html.axis import (
    BOUND,
    ESTIMATE,
    EXCEEDING,
    INTERVAL,
    LIMIT,
    RANGE,
    Mark,
    Scale,
    Track,
    log,
    point,
    scale_of,
    sort_key,
)
from convsv_cli.renderers.html.verdict import limits_of
from convsv_cli.renderers.numbers import LOWER, as_written, counted, enclosure, figure, size, times
from convsv_cli.report import (
    AUDITED,
    CERTIFIED,
    EXCEEDED,
    NOT_APPLICABLE,
    PADDED,
    UPPER,
    Audit,
    Distribution,
    Gate,
    Interval,
    LayerAudit,
    Measurement,
    Method,
)

PREFIXES = ("", "k", "M", "G", "T", "P", "E")
"""Of thousands, their squares, and so on."""
CROWDED = 40
"""Layers in a table, from which on it scrolls below its header."""
TOP = 100
"""The height of a histogram, whose bins are one unit wide."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a chart shows of a layer, as decimal logarithms; None for what there is not.

    Attributes:
        layer: the layer itself.
        gate: the limit on it.
        enclosure: what is proven of its norm for every input size.
        ends: the ends of the enclosure.
        estimate, bound, limit: single figures.
    """

    layer: LayerAudit
    gate: Gate | None
    enclosure: Interval | None
    ends: tuple[float, float] | None
    estimate: float | None
    bound: float | None
    limit: float | None

    @property
    def exceeds(self) -> bool:
        """Whether the norm is beyond the limit."""
        return self.gate is not None and self.gate.outcome == EXCEEDED

    @property
    def tone(self) -> str:
        """How the row is tinted."""
        if self.layer.status not in (AUDITED, NOT_APPLICABLE):
            return "warn"
        return "fail" if self.exceeds else ""

    def logs(self) -> Iterator[float]:
        """All that must be on the axis."""
        yield from self.ends or ()
        yield from (value for value in (self.estimate, self.bound, self.limit) if value is not None)


@dataclass(frozen=True, kw_only=True)
class LayerTable:
    """All layers on one axis.

    Attributes:
        scale: the axis.
        methods: those that ran, a column each.
        spread: by heading and meaning, the columns of how singular values spread: of each row the text, and
            how it is sorted.
        judged: whether some layer has a limit.
        rows: each layer with its marks; None where nothing is certified.
        marks: the kinds of marks that there are.
    """

    scale: Scale
    methods: tuple[Method, ...]
    judged: bool
    spread: Mapping[tuple[str, str], tuple[tuple[str, str | None], ...]]
    rows: tuple[tuple[Figures, Track | None], ...]
    marks: tuple[str, ...]

    @property
    def crowded(self) -> bool:
        """Whether the header would be out of sight for most of the rows."""
        return len(self.rows) > CROWDED


def figures_of(audit: Audit) -> tuple[Figures, ...]:
    """The figures of each layer, in the network's order."""
    limits = limits_of(audit.verdict)
    return tuple(_figures(layer, limits.get(layer.name)) for layer in audit.layers)


def layer_table(audit: Audit) -> LayerTable:
    """The rows in the network's order."""
    figures = figures_of(audit)
    scale = scale_of(value for each in figures for value in each.logs())
    rows = tuple((each, _track(each, scale)) for each in figures)
    drawn = {mark.kind for _, track in rows if track for mark in track.marks}
    return LayerTable(
        scale=scale,
        methods=tuple(m for m in audit.methods if any(layer.measurement(m.name) for layer in audit.layers)),
        spread={
            (name, SPREAD[name]): tuple(
                (enclosure(each), sort_key(each.upper if each else None)) for each in column
            )
            for name, column in spread_of(audit.layers).items()
        },
        judged=any(each.gate for each in figures),
        rows=rows,
        marks=tuple(kind for kind in (INTERVAL, EXCEEDING, BOUND, ESTIMATE, LIMIT) if kind in drawn),
    )


def cell(measurement: Measurement | None, method: Method) -> tuple[str, str | None]:
    """What a method found, and the number by which its column is sorted."""
    if measurement is None:
        return "", None
    if method.kind == PADDED and measurement.enclosure is not None:
        ends = measurement.enclosure
        return f"{figure(ends.lower, LOWER)} … {figure(ends.upper, CERTIFIED)}", sort_key(ends.upper)
    return figure(measurement.value, method.kind), sort_key(measurement.value)


def parameters(layer: LayerAudit) -> tuple[str, str, str | None]:
    """How many the layer has: short, in full, and as its column is sorted."""
    return _count(layer.parameters, "its shape is not known")


def multiplications(layer: LayerAudit) -> tuple[str, str, str | None]:
    """How many a sample takes, or a matrix' vector; nothing, and why, where that is not known."""
    return _count(layer.macs, layer.no_macs)


def _count(value: int | None, missing: str) -> tuple[str, str, str | None]:
    if value is None:
        return "", missing, None
    return short(value), f"{value:,}", str(value)


def short(count: int) -> str:
    """Exact as far as it has five digits; then three digits and a prefix, never up."""
    if count < 10**5:
        return f"{count:,}"
    thousands = (len(str(count)) - 1) // 3
    if thousands >= len(PREFIXES):
        return f"{count:.2e}" if count < 10**300 else "∞"
    scaled = str(count // 10 ** (3 * thousands - 2)).zfill(3)
    whole, rest = scaled[:-2], scaled[-2:][: max(0, 5 - len(scaled))]
    return f"{whole}{'.' if rest else ''}{rest} {PREFIXES[thousands]}"


def geometry(layer: LayerAudit) -> str:
    """The operator and its geometry, and the layer's other names."""
    said = {"stride": layer.stride, "dilation": layer.dilation, "groups": (layer.groups,)}
    extras = [f"{name} {size(value)}" for name, value in said.items() if set(value) - {1}]
    n = [f"n {size(layer.input_size)}"] if layer.input_size else []
    also = [f"also {alias}" for alias in layer.aliases]
    update = update_details(layer.update) if layer.update else []
    return " · ".join([f"{layer.op} {times(layer.kernel_shape)}", *extras, *n, *update, *also])


def outline(counts: tuple[int, ...]) -> str:
    """The path of a histogram along the tops of its bins; a bin that is not empty is seen."""
    most = max(counts) or 1
    tops = [TOP - max(1.5, TOP * count / most) if count else TOP for count in counts]
    return f"M0 {TOP}" + "".join(f"V{top:.4g}h1" for top in tops) + f"V{TOP}z"


def spread(found: Distribution) -> str:
    """A histogram in words."""
    counts = found.histogram
    most = max(range(len(counts)), key=counts.__getitem__)
    low, high = (figure(found.edge * i / len(counts)) for i in (most, most + 1))
    smallest = "0" if found.vanishing else figure(found.smallest)
    return (
        f"{counted(found.count, 'singular value')} from {smallest} to {figure(found.largest)}; "
        f"most of them, {counts[most]:,}, from {low} to {high}"
    )


def _figures(layer: LayerAudit, gate: Gate | None) -> Figures:
    """Of a layer and the limit on it, whose gate may have tried harder than the audit."""
    certified = layer.measurement("certified")
    audited = None if certified is None else certified.enclosure
    enclosure = audited if gate is None or gate.enclosure is None else gate.enclosure
    return Figures(
        layer=layer,
        gate=gate,
        enclosure=enclosure,
        ends=None if enclosure is None else (log(enclosure.lower), log(enclosure.upper)),
        estimate=_log(layer.measurement("heuristic")),
        bound=_log(layer.measurement("bound")),
        limit=None if gate is None else log(gate.limit),
    )


def _log(measurement: Measurement | None) -> float | None:
    return None if measurement is None else log(measurement.value)


def _track(figures: Figures, scale: Scale) -> Track | None:
    """The marks of a layer; None where nothing is certified."""
    enclosure, gate = figures.enclosure, figures.gate
    if enclosure is None:
        return None
    words = [f"from {figure(enclosure.lower, LOWER)} to {figure(enclosure.upper, CERTIFIED)}"]
    for name, kind in (("bound", UPPER), ("heuristic", "")):
        measurement = figures.layer.measurement(name)
        words += [] if measurement is None else [f"{name} {figure(measurement.value, kind)}"]
    words += [] if gate is None else [f"limit {as_written(gate.limit)}, {gate.outcome}"]
    return Track(words=", ".join(words), marks=tuple(_marks(scale, figures)))


def _marks(scale: Scale, figures: Figures) -> Iterator[Mark]:
    """From the back to the front."""
    if figures.estimate is not None and figures.bound is not None:
        ends = sorted((figures.estimate, figures.bound))
        yield Mark(kind=RANGE, start=scale.at(ends[0]), end=scale.at(ends[1]))
    for kind, value in ((LIMIT, figures.limit), (BOUND, figures.bound), (ESTIMATE, figures.estimate)):
        if value is not None:
            yield point(kind, scale.at(value))
    if figures.ends is not None:
        kind = EXCEEDING if figures.exceeds else INTERVAL
        yield Mark(kind=kind, start=scale.at(figures.ends[0]), end=scale.at(figures.ends[1]))
