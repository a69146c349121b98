"""CSV: a row per layer, with the names of the JSON document, flat."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from convsv_cli.names import spreadsheet_cell
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import CHANGES, Audit, Report

Cell = str | int | float | None


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """The header and a row per layer; missing values are empty.

    Where some layer is not what it was in a baseline, a column says so, and layers only there have rows.
    """
    rows = [row for audit in report.audits for row in _rows(audit)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return comma_separated([columns, *([row.get(column) for column in columns] for row in rows)])


def comma_separated(rows: Iterable[Iterable[Cell]]) -> str:
    """The document; texts are made inert for spreadsheets here, and only here."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(
        [spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows
    )
    return text.getvalue()


def _rows(audit: Audit) -> Iterator[dict[str, Cell]]:
    from convsv_cli.wire.form import members
    from convsv_cli.wire.layer import Layer

    changes = {finding.node: finding.message for finding in audit.findings if finding.rule in CHANGES}
    for layer in audit.layers:
        change = changes.pop(layer.name, "")
        row = {**_flat(members(Layer.filled(layer))), "model": audit.model.path}
        yield {**row, "baseline": change} if change else row
    for name, change in changes.items():
        yield {"name": name, "model": audit.model.path, "baseline": change}


def _flat(layer: dict[str, Any]) -> dict[str, Cell]:
    """A layer's JSON object with nested fields as `outer_inner` and lists as text."""
    row: dict[str, Cell] = {}
    for field, value in layer.items():
        if isinstance(value, dict):
            prefix = "bound" if field == "bounds" else field
            for inner, figure in value.items():
                name = field if inner == "value" else f"{prefix}_{inner}"
                row[name] = _cell(figure, separator="x")
        else:
            row[field] = _cell(value, separator="; " if field in ("aliases", "assumed") else "x")
    return row


def _cell(value: Any, *, separator: str) -> Cell:  # noqa: ANN401
    if isinstance(value, list):
        return separator.join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value


RENDERER = Renderer(name="csv", suffixes=(".csv",), render=render)
