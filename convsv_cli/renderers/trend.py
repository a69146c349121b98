"""Several audits side by side: as a table, JSON, CSV and Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from convsv_cli.comparison.changes import growth
from convsv_cli.names import inert
from convsv_cli.renderers import json, markdown
from convsv_cli.renderers.csv import comma_separated
from convsv_cli.renderers.numbers import figure
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import UPPER, Trend

NETWORK, GROWTH = "network", "last/first"


def _table(trend: Trend, terminal: Terminal) -> str:
    """A row per layer, a column per audit; a narrow terminal goes without those in the middle."""
    trend = inert(trend)
    rows = [["layer", *trend.names, GROWTH], *_rows(trend)]
    kept = _fitting(rows, terminal.width)
    widths = [max(len(row[index]) for row in rows) for index in kept]
    lines = [_line([row[index] for index in kept], widths) for row in rows]
    left = len(trend.names) + 2 - len(kept)
    more = [f"{left} of {len(trend.names)} reports do not fit here; -o FILE.csv has all"] if left else []
    about = "certified ≤ of each layer; certified Lipschitz bound (L2) of the network"
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:], "", *more, about]) + "\n"


def _markdown(trend: Trend, terminal: Terminal) -> str:  # noqa: ARG001
    """The same, the network first, as far as there is room."""
    trend = inert(trend)
    headings = ["layer", *map(markdown.code, trend.names), GROWTH]
    *layers, network = [[markdown.code(name), *figures] for name, *figures in _rows(trend)]
    right = [False, *(True for _ in headings[1:])]
    lines = markdown.table(headings, right, [network, *layers])
    kept = markdown.fitting(lines, markdown.LARGEST)
    more = [f"\n… and {len(lines) - len(kept)} more, in the JSON report"] if len(kept) < len(lines) else []
    return "\n".join([*kept, *more]) + "\n"


def _csv(trend: Trend, terminal: Terminal) -> str:  # noqa: ARG001
    """A row per layer and one for the network, whose name is empty, in full precision."""
    named = (*trend.layers, ("", trend.network))
    return comma_separated([("name", *trend.names), *((name, *figures) for name, figures in named)])


def _rows(trend: Trend) -> list[list[str]]:
    """Layers, and at the end the network, as text."""
    rows = []
    for name, figures in (*trend.layers, (NETWORK, trend.network)):
        grown = growth(figures)
        last = "" if grown is None else f"{grown:.3g}"
        rows.append([name, *(figure(value, UPPER) for value in figures), last])
    return rows


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
    Renderer(name="table", suffixes=(".txt",), render=_table),
    json.RENDERER,
    Renderer(name="csv", suffixes=(".csv",), render=_csv),
    Renderer(name="markdown", suffixes=(".md", ".markdown"), render=_markdown),
)
