"""Several audits side by side: as a table, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from convsv_cli.comparison.trend import growth
from convsv_cli.renderers.markdown_text import code, fitting
from convsv_cli.renderers.markdown_text import table as markdown_table
from convsv_cli.renderers.numbers import figure
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import UPPER, Trend
from convsv_cli.report.trend import Figures
from convsv_cli.sanitize import inert, spreadsheet_cell

NETWORK, GROWTH = "network", "last/first"
LARGEST = 2**20 - 2**12
"""Bytes of Markdown, as GitHub takes them."""


def table(trend: Trend, terminal: Terminal) -> str:
    """A row a layer, a column an audit; where a terminal is too narrow, those in the middle are left out."""
    trend = inert(trend)
    rows = [["layer", *trend.names, GROWTH], *_rows(trend)]
    kept = _fitting(rows, terminal.width)
    widths = [max(len(row[index]) for row in rows) for index in kept]
    lines = [_line([row[index] for index in kept], widths) for row in rows]
    left = len(trend.names) + 2 - len(kept)
    more = [f"{left} of {len(trend.names)} reports have no room here; -o FILE.csv has all"] if left else []
    about = "certified ≤ of each layer; certified Lipschitz bound (L2) of the network"
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:], "", *more, about]) + "\n"


def markdown(trend: Trend, terminal: Terminal) -> str:  # noqa: ARG001
    """The same, as far as there is room."""
    trend = inert(trend)
    headings = ["layer", *map(code, trend.names), GROWTH]
    rows = [[code(name), *figures] for name, *figures in _rows(trend)]
    right = [False, *(True for _ in headings[1:])]
    lines = markdown_table(headings, right, [rows[-1], *rows[:-1]])
    kept = fitting(lines, LARGEST)
    more = [f"\n… and {len(lines) - len(kept)} more, in the JSON report"] if len(kept) < len(lines) else []
    return "\n".join([*kept, *more]) + "\n"


def comma_separated(trend: Trend, terminal: Terminal) -> str:  # noqa: ARG001
    """A row a layer and one for the network, in full precision; texts are inert for spreadsheets."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *map(spreadsheet_cell, trend.names)])
    writer.writerows([spreadsheet_cell(name), *figures] for name, figures in trend.layers)
    writer.writerow(["", *trend.network])
    return text.getvalue()


def document(trend: Trend, terminal: Terminal) -> str:  # noqa: ARG001
    """The JSON document; it is no report that could be read back."""
    from convsv_cli.wire import form
    from convsv_cli.wire import trend as wire

    return form.text(wire.document(trend))


def _rows(trend: Trend) -> list[list[str]]:
    """Layers, and at the end the network, as text."""
    return [_row(name, figures) for name, figures in (*trend.layers, (NETWORK, trend.network))]


def _row(name: str, figures: Figures) -> list[str]:
    grown = growth(figures)
    return [name, *(figure(value, UPPER) for value in figures), "" if grown is None else f"{grown:.3g}"]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([f"{first[0]:{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]).rstrip()


def _fitting(rows: list[list[str]], width: int | None) -> list[int]:
    """Columns that have room: the first and the last audit at least, and the latest of the others."""
    kept = list(range(len(rows[0])))
    widths = [max(len(row[index]) for row in rows) for index in kept]
    while width is not None and len(kept) > 4 and sum(widths[i] + 2 for i in kept) - 2 > width:
        del kept[2]
    return kept


RENDERERS: tuple[Renderer[Trend], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=table),
    Renderer(name="json", suffixes=(".json",), render=document),
    Renderer(name="csv", suffixes=(".csv",), render=comma_separated),
    Renderer(name="markdown", suffixes=(".md", ".markdown"), render=markdown),
)
