"""CSV: one row a layer, the names of the JSON document, flat."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import CHANGES, Audit, Report
from convsv_cli.sanitize import spreadsheet_cell

Cell = str | int | float | None


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """The header and a row a layer; text cells are made inert for spreadsheets, missing values are empty.

    Where some layer is not what it was in a baseline, a column says so, and layers only there have rows.
    """
    rows = [row for audit in report.audits for row in _rows(audit)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writerow({column: spreadsheet_cell(column) for column in columns})
    writer.writerows(rows)
    return text.getvalue()


def _rows(audit: Audit) -> Iterator[dict[str, Cell]]:
    model = {"model": spreadsheet_cell(audit.model.path)}
    changes = {finding.node: finding.message for finding in audit.findings if finding.rule in CHANGES}
    for layer in _layers(audit):
        change = changes.pop(layer["name"], "")
        yield {**_flat(layer), **model, **({"baseline": spreadsheet_cell(change)} if change else {})}
    for name, change in changes.items():
        yield {"name": spreadsheet_cell(name), **model, "baseline": spreadsheet_cell(change)}


def _layers(audit: Audit) -> Iterator[dict[str, Any]]:
    from convsv_cli.wire.form import members
    from convsv_cli.wire.layer import Layer

    return (members(Layer.filled(layer)) for layer in audit.layers)


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
        value = separator.join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return spreadsheet_cell(value) if isinstance(value, str) else value


RENDERER = Renderer(name="csv", suffixes=(".csv",), render=render)
