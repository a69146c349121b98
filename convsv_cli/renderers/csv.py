"""CSV: one row a layer, the names of the JSON document, flat."""

from __future__ import annotations

import csv
import io
from typing import Any

from convsv_cli.renderers import trend_text
from convsv_cli.renderers.json import audit_fields
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import Report
from convsv_cli.sanitize import spreadsheet_cell


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """The header and a row a layer; text cells are made inert for spreadsheets, missing values are empty."""
    rows = [
        {**_flat(layer), "model": spreadsheet_cell(audit.model.path)}
        for audit in report.audits
        for layer in audit_fields(audit)["layers"]
    ]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writerow({column: spreadsheet_cell(column) for column in columns})
    writer.writerows(rows)
    return text.getvalue()


def _flat(layer: dict[str, Any]) -> dict[str, str | int | float | None]:
    """A layer's JSON object with nested fields as `outer_inner` and lists as text."""
    row: dict[str, str | int | float | None] = {}
    for field, value in layer.items():
        if isinstance(value, dict):
            prefix = "bound" if field == "bounds" else field
            for inner, figure in value.items():
                name = field if inner == "value" else f"{prefix}_{inner}"
                row[name] = _cell(figure, separator="x")
        else:
            row[field] = _cell(value, separator="; " if field in ("aliases", "assumed") else "x")
    return row


def _cell(value: Any, *, separator: str) -> str | int | float | None:  # noqa: ANN401
    if isinstance(value, list):
        value = separator.join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return spreadsheet_cell(value) if isinstance(value, str) else value


RENDERER = Renderer(name="csv", suffixes=(".csv",), render=render, compare=trend_text.comma_separated)
