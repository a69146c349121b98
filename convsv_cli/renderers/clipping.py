"""A model that was brought under limits: its layers before and after, its bound, and its accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator

from convsv_cli.names import inert
from convsv_cli.renderers import json
from convsv_cli.renderers.csv import Cell, comma_separated
from convsv_cli.renderers.html.page import page
from convsv_cli.renderers.html.verdict import FAIL, PASS, Headline
from convsv_cli.renderers.numbers import LOWER, as_written, figure, percent, sample_share, times
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.screen import BAD, FAINT, GOOD, Line, Part, Table, fitting, indented, shown
from convsv_cli.report import KEPT, UPPER, ClippedLayer, Clipping, Interval

COLUMNS = (
    "kind", "model", "output", "name", "op", "kernel_shape", "dtype", "method", "limit", "before_lower",
    "before_upper", "after_lower", "after_upper", "change", "kept", "reason",
)  # fmt: skip
"""Of the CSV: a row for each layer, one for the network, one for accuracies, in shares of the samples."""

TEXTS = ("layer", "op", "kernel", "method")
EXPENDABLE = ("op", "kernel")
"""Columns that a narrow terminal goes without."""


def _table(found: Clipping, terminal: Terminal) -> str:
    """The document; texts from the file are made inert here, and only here."""
    found = inert(found)
    parts: list[Part] = [f"{found.model.path} → {found.output.path}", "", *_layers(found, terminal), ""]
    parts += _network(found)
    parts += _accuracy(found)
    parts += indented((f"note: {note}" for note in found.notes), 2)
    parts.append(_conclusion(found))
    return shown(parts, terminal)


def _layers(found: Clipping, terminal: Terminal) -> Iterator[Part]:
    styles = [BAD if not layer.kept else FAINT if layer.method == KEPT else "" for layer in found.layers]
    kept = fitting(_columns(found), terminal.width, EXPENDABLE)
    yield Table(columns=kept, texts=TEXTS, styles=styles)
    for layer in found.layers:
        if _why(layer):
            yield Line(after=f"{layer.row.name}: {layer.reason}", indent=2)


def _columns(found: Clipping) -> dict[str, list[str]]:
    rows = found.layers
    return {
        "layer": [layer.row.name for layer in rows],
        "op": [layer.row.op for layer in rows],
        "kernel": [times(layer.row.kernel_shape) for layer in rows],
        "before ≤": [_upper(layer.before) for layer in rows],
        "after ≤": [_upper(layer.after) for layer in rows],
        "|ΔW|/|W|": [percent(layer.change) for layer in rows],
        "method": [layer.method for layer in rows],
    }


def _why(layer: ClippedLayer) -> str:
    """Why its limit is not kept, or it has no norm; empty where neither is so."""
    return layer.reason if not layer.kept or layer.after is None else ""


def _network(found: Clipping) -> Iterator[str]:
    if found.lipschitz_after is None:
        return
    before, after = (_bound(value) for value in (found.lipschitz_before, found.lipschitz_after))
    yield f"network: certified Lipschitz bound (L2) {before} before, {after} after"
    if found.unbounded and math.isinf(found.lipschitz_after):
        yield f"  {found.unbounded}"


def _bound(value: float | None) -> str:
    return "none" if value is None or math.isinf(value) else f"≤ {figure(value, UPPER)}"


def _accuracy(found: Clipping) -> Iterator[str]:
    known = found.accuracy
    if known is not None:
        before, after = (sample_share(part, known.samples) for part in (known.before, known.after))
        at = f"at {known.samples:,} samples of {found.settings.data}"
        yield f"accuracy: {before} before, {after} after, {at}"


def _conclusion(found: Clipping) -> Line:
    word, style = ("kept", GOOD) if found.kept else ("not kept", BAD)
    return Line(before=f"limits ({_limits(found)}): ", word=word, after=_failed(found), style=style)


def _limits(found: Clipping) -> str:
    asked = found.settings
    limits = [] if asked.max_layer is None else [f"{as_written(asked.max_layer)} for each layer"]
    if asked.max_lipschitz is not None:
        limits.append(f"{as_written(asked.max_lipschitz)} for the network")
    return ", ".join(limits)


def _failed(found: Clipping) -> str:
    failed = sum(not layer.kept for layer in found.layers)
    return f" by {failed:,} of {len(found.layers):,} layers" if failed else ""


def _upper(norm: Interval | None) -> str:
    return "" if norm is None else figure(norm.upper, UPPER)


def _html(found: Clipping, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every text from a file is inert in it."""
    title = "Limits kept" if found.kept else f"Limits not kept{_failed(found)}"
    columns = _columns(found)
    return page(
        "clip.html",
        found=found,
        headline=Headline(tone=PASS if found.kept else FAIL, title=title, text=_limits(found)),
        columns=[(name, "" if name in TEXTS else "number") for name in columns],
        rows=[(layer, _why(layer), row) for layer, *row in zip(found.layers, *columns.values(), strict=True)],
        lines=[*_network(found), *_accuracy(found), *(f"note: {note}" for note in found.notes)],
    )


def _csv(found: Clipping, terminal: Terminal) -> str:  # noqa: ARG001
    both: dict[str, Cell] = {"model": found.model.path, "output": found.output.path}
    rows: list[dict[str, Cell]] = [{"kind": "layer", **_row(layer)} for layer in found.layers]
    if found.lipschitz_after is not None:
        rows.append(
            {
                "kind": "network",
                "limit": found.settings.max_lipschitz,
                "before_upper": _finite(found.lipschitz_before),
                "after_upper": _finite(found.lipschitz_after),
                "kept": str(found.network_kept).lower(),
                "reason": found.unbounded,
            }
        )
    if found.accuracy is not None:
        known = found.accuracy
        counts = {"before_upper": known.before, "after_upper": known.after}
        shares: dict[str, Cell] = {name: part / known.samples for name, part in counts.items()}
        rows.append({"kind": "accuracy", **shares})
    return comma_separated([COLUMNS, *([(both | row).get(name) for name in COLUMNS] for row in rows)])


def _row(layer: ClippedLayer) -> dict[str, Cell]:
    ends = {
        f"{name}_{end}": _finite(getattr(norm, end))
        for name, norm in (("before", layer.before), ("after", layer.after))
        if norm is not None
        for end in (LOWER, UPPER)
    }
    return {
        "name": layer.row.name,
        "op": layer.row.op,
        "kernel_shape": "x".join(map(str, layer.row.kernel_shape)),
        "dtype": layer.row.dtype,
        "method": layer.method,
        "limit": layer.limit,
        "change": layer.change,
        "kept": str(layer.kept).lower(),
        "reason": layer.reason,
        **ends,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


RENDERERS: tuple[Renderer[Clipping], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=_table),
    json.RENDERER,
    Renderer(name="csv", suffixes=(".csv",), render=_csv),
    Renderer(name="html", suffixes=(".html", ".htm"), render=_html),
)
