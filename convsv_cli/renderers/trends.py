"""Audits side by side: tables, and how norms go over the steps of a training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from convsv_cli.comparison.trends import growth
from convsv_cli.digits import short
from convsv_cli.names import inert
from convsv_cli.renderers import csv, json, markdown
from convsv_cli.renderers.html.course import WIDTH, courses_of, headline_of_trend, laid_out, steps_of
from convsv_cli.renderers.html.page import filled, page
from convsv_cli.renderers.numbers import figure
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import UPPER, Trend
from convsv_cli.version import __version__

GROWTH = "last/first"


def _trend_table(trend: Trend, terminal: Terminal) -> str:
    """A row per layer, a column per audit; a narrow terminal goes without those in the middle."""
    trend = inert(trend)
    rows = [["layer", *trend.names, GROWTH], *_trend_rows(trend)]
    kept = _fitting(rows, terminal.width)
    lines = _aligned([[row[index] for index in kept] for row in rows], [index > 0 for index in kept])
    left = len(rows[0]) - len(kept)
    more = [f"{left} of {len(trend.names)} reports do not fit here; -o FILE.csv has all"] if left else []
    about_figures = "certified ≤ of each layer; certified Lipschitz bound (L2) of the network"
    return "\n".join([*lines, "", *more, about_figures, *_unequal(trend)]) + "\n"


def _trend_markdown(trend: Trend, terminal: Terminal) -> str:  # noqa: ARG001
    """The same, the network first, as far as there is room."""
    trend = inert(trend)
    headings = ["layer", *map(markdown.code, trend.names), GROWTH]
    *layers, network = [[markdown.code(name), *figures] for name, *figures in _trend_rows(trend)]
    right = [False, *(True for _ in headings[1:])]
    lines = markdown.table(headings, right, [network, *layers])
    kept = markdown.fitting(lines, markdown.LARGEST)
    more = [f"\n… and {len(lines) - len(kept)} more, in the JSON report"] if len(kept) < len(lines) else []
    why = [f"\n{markdown.prose(line)}" for line in _unequal(trend)]
    return "\n".join([*kept, *more, *why]) + "\n"


def _unequal(trend: Trend) -> list[str]:
    """That the bounds of the network tell nothing of growth, where that is so."""
    return [f"{csv.NETWORK}: not comparable: {trend.reason}"] if trend.reason else []


def _trend_csv(trend: Trend, terminal: Terminal) -> str:  # noqa: ARG001
    """A row per layer and one for the network, whose name is empty, in full precision."""
    named = (*trend.layers, ("", trend.network))
    rows = ((csv.kind_of(name), name, *figures) for name, figures in named)
    return csv.comma_separated([("kind", "name", *trend.names), *rows])


def _trend_rows(trend: Trend) -> list[list[str]]:
    """Layers, and at the end the network, as text."""
    rows = []
    for name, figures in (*trend.layers, (csv.NETWORK, trend.network)):
        grown = growth(figures)
        last = "" if grown is None else short(grown, 3)
        rows.append([name, *(figure(value, UPPER) for value in figures), last])
    if trend.reason:
        rows[-1][-1] = ""
    return rows


def _fitting(rows: list[list[str]], width: int | None) -> list[int]:
    """Columns that have room: the first and the last audit at least, and the latest of the others."""
    kept = list(range(len(rows[0])))
    widths = [max(len(row[index]) for row in rows) for index in kept]
    while width is not None and len(kept) > 4 and sum(widths[i] + 2 for i in kept) - 2 > width:
        del kept[2]
    return kept


def _aligned(rows: Sequence[Sequence[str]], right: Iterable[bool]) -> list[str]:
    """The lines of a table, headings first and a rule below them; True for a column that is flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    places = [f"{'>' if flush else '<'}{width}" for flush, width in zip(right, widths, strict=True)]
    lines = [
        "  ".join(f"{cell:{place}}" for cell, place in zip(row, places, strict=True)).rstrip() for row in rows
    ]
    return [lines[0], "─" * max(map(len, lines)), *lines[1:]]


def _trend_html(trend: Trend, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every text from a file is inert in it."""
    steps = steps_of(trend.names)
    network, layers = courses_of(trend, steps)
    every = (*filter(None, [network]), *layers)
    return page(
        "trend.html",
        trend=trend,
        steps=steps,
        network=network,
        layers=layers,
        headline=headline_of_trend(trend, every),
        version=__version__,
    )


def _trend_svg(trend: Trend, terminal: Terminal) -> str:  # noqa: ARG001
    """A picture without scripts, fonts or links, in light and dark: a small chart per layer."""
    network, layers = courses_of(trend, steps_of(trend.names))
    every = (*filter(None, [network]), *layers)
    panels, height = laid_out(every)
    return filled(
        "trend.svg",
        trend=trend,
        panels=panels,
        network=network,
        headline=headline_of_trend(trend, every),
        width=WIDTH,
        height=height,
    )


PAGE = Renderer(name="html", suffixes=(".html", ".htm"), render=_trend_html)
TRENDS: tuple[Renderer[Trend], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=_trend_table),
    json.RENDERER,
    Renderer(name="csv", suffixes=(".csv",), render=_trend_csv),
    Renderer(name="markdown", suffixes=(".md", ".markdown"), render=_trend_markdown),
    PAGE,
    Renderer(name="svg", suffixes=(".svg",), render=_trend_svg),
)
