"""The results of a sweep: a row per file, those that stand out, and series over steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convsv_cli.digits import short
from convsv_cli.names import inert, one_line
from convsv_cli.renderers import csv, json, markdown
from convsv_cli.renderers.audit_text import bound_figure
from convsv_cli.renderers.html.page import page
from convsv_cli.renderers.html.verdict import FAIL, PASS, WARN, Headline, largest_of
from convsv_cli.renderers.numbers import counted, figure
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.screen import BAD, STRESSED, Part, Table, fitting, shown
from convsv_cli.renderers.verdict_text import headline
from convsv_cli.report import BOUNDED, UPPER, Report, Series, Sweep, Swept

HEADINGS = ("file", "status", "layers", "largest norm ≤", "layer", "network ≤", "remark")
TEXTS = ("file", "status", "layer", "remark")
EXPENDABLE = ("layer",)
"""Columns that a narrow terminal goes without."""
SERIES = (
    "series", "steps",
    "first norm ≤", "last norm ≤", "norms", "first network ≤", "last network ≤", "networks",
)  # fmt: skip
"""Norms are the largest of a file; without an end, the last as a multiple of the first."""
CSV_HEADINGS = (
    "path", "status", "same_as", "reason", "exit_code", "layers", "audited", "largest_layer",
    "largest_certified", "bound", "lipschitz_upper", "log10_lipschitz_upper", "outlier", "series", "step",
)  # fmt: skip
TONES = {
    "audited": (PASS, "✓"),
    "incomplete": (WARN, "!"),
    "failed": (FAIL, "✕"),
    "same": ("mute", "="),
    "gone": ("mute", "∅"),
}
"""The tone and the symbol of each status."""
STYLES = {"incomplete": STRESSED, "failed": BAD}


def _table(sweep: Sweep, terminal: Terminal) -> str:
    """A row per file, then one per series."""
    sweep = inert(sweep)
    rows = [_row(file, str, str) for file in sweep.files]
    parts: list[Part] = [_counts(sweep), ""]
    if rows:
        styles = [STYLES.get(file.status, "") for file in sweep.files]
        columns = fitting(_columns(HEADINGS, rows), terminal.width, EXPENDABLE, prose="remark")
        parts.append(Table(columns=columns, texts=TEXTS, styles=styles))
    if sweep.series:
        trends = [_trend(series, str) for series in sweep.series]
        plain = [""] * len(trends)
        parts += ["", Table(columns=_columns(SERIES, trends), texts=SERIES[:1], styles=plain)]
    return shown(parts, terminal)


def _markdown(sweep: Sweep, terminal: Terminal) -> str:  # noqa: ARG001
    """What stands out first, then all files, as far as there is room."""
    sweep = inert(sweep)
    parts = [f"## {markdown.code(sweep.path)}", markdown.prose(_counts(sweep))]
    right = [name not in TEXTS for name in HEADINGS]
    if sweep.outliers:
        rows = [_row(file, markdown.code, markdown.prose) for file in sweep.outliers[: markdown.WORST]]
        parts += ["### Far above the others", "\n".join(markdown.table(HEADINGS, right, rows))]
    if sweep.series:
        trends = [_trend(series, markdown.code) for series in sweep.series]
        flush = [False, *(True for _ in SERIES[1:])]
        lines = markdown.table(SERIES, flush, trends)
        parts += ["### Over steps", "\n".join(markdown.fitting(lines, markdown.LARGEST // 4))]
    rows = [_row(file, markdown.code, markdown.prose) for file in sweep.files]
    lines = markdown.table(HEADINGS, right, rows)
    kept = markdown.fitting(lines, markdown.LARGEST // 2)
    parts += ["### Files", "\n".join(kept)]
    left = len(lines) - len(kept)
    parts += [f"… and {left:,} more files, {markdown.ELSEWHERE}"] if left else []
    return "\n\n".join(parts) + "\n"


def _csv(sweep: Sweep, terminal: Terminal) -> str:  # noqa: ARG001
    """A row per file, in full precision, with its series and its number in that."""
    places = {step.file.path: (each.name, step.number) for each in sweep.series for step in each.steps}
    rows = [
        (
            f.path, f.status, f.same_as, f.reason, f.exit_code, f.layers, f.audited, f.largest_layer,
            f.largest, f.bound, f.lipschitz, f.log10, f.outlier, *places.get(f.path, (None, None)),
        )
        for f in sweep.files
    ]  # fmt: skip
    return csv.comma_separated([CSV_HEADINGS, *rows])


def _html(sweep: Sweep, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every text from a file is inert in it."""
    failed = sweep.counts.get("failed", 0)
    tone = FAIL if failed else WARN if sweep.counts.get("incomplete") else PASS
    banner = Headline(tone=tone, title=counted(len(sweep.files), "file"), text=_counts(sweep))
    return page(
        "sweep.html",
        sweep=sweep,
        headline=banner,
        tones=TONES,
        rows=[(file, _row(file, str, str)) for file in sweep.files],
        trends=[(series, _trend(series, str)) for series in sweep.series],
    )


def _counts(sweep: Sweep) -> str:
    """How many files of which kind, and how many stand out."""
    said = [f"{count:,} {status}" for status, count in sweep.counts.items()]
    far = f"; {len(sweep.outliers):,} far above the others" if sweep.outliers else ""
    return (", ".join(said) or "no files") + far


def _row(file: Swept, shown: Callable[[str], str], said: Callable[[str], str]) -> tuple[str, ...]:
    """The cells below `HEADINGS`.

    Args:
        file: what they are about.
        shown: makes names harmless.
        said: makes sentences harmless.
    """
    same = f"as {shown(file.same_as)}" if file.same_as else ""
    remarks = [same, *(said(each) for each in (file.reason, file.outlier) if each)]
    return (
        shown(file.path),
        file.status,
        f"{file.audited} of {file.layers}" if file.bound else "",
        figure(file.largest, UPPER),
        shown(file.largest_layer) if file.largest_layer else "",
        _bound(file),
        "; ".join(filter(None, remarks)),
    )


def _bound(file: Swept) -> str:
    """The network's, or why there is no figure, in a word."""
    if file.lipschitz is not None:
        return figure(file.lipschitz, UPPER)
    if file.bound != BOUNDED:
        return file.bound
    return "overflow" if file.log10 is None else f"10^{short(file.log10, 4)}"


def _trend(series: Series, shown: Callable[[str], str]) -> tuple[str, ...]:
    """The cells below `SERIES`."""
    first, last = series.steps[0].file, series.steps[-1].file
    ratios = ["" if grown is None else short(grown, 3) for grown in (series.norms, series.bounds)]
    return (
        shown(series.name),
        f"{len(series.steps)} ({series.steps[0].number} to {series.steps[-1].number})",
        figure(first.largest, UPPER),
        figure(last.largest, UPPER),
        ratios[0],
        _bound(first),
        _bound(last),
        ratios[1],
    )


def _columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    return {name: [row[index] for row in rows] for index, name in enumerate(headings)}


def checkpoint_line(path: str, report: Report) -> str:
    """What became of a checkpoint: layers, largest norm, bound (or product, which is none), and verdict."""
    if not report.audits:
        return one_line(f"{path}: failed: {report.failures[0].message.removeprefix(f'{path}: ')}")
    (audit,) = report.audits
    norm, bound = largest_of(audit), audit.bound
    product = dict(audit.network.product).get("certified")
    network = f"network ≤ {bound_figure(bound)}" if bound.status == BOUNDED else bound.status
    if bound.status != BOUNDED and product is not None:
        network = f"product of norms {figure(product, UPPER)} (no bound of the network)"
    said = [
        f"{audit.audited} of {counted(audit.applicable, 'layer')}",
        f"largest ≤ {figure(norm[0], UPPER)} ({norm[1]})" if norm else "no norm",
        network,
        *([headline(audit.verdict, audit.findings)] if audit.verdict else []),
    ]
    return one_line(f"{path}: {', '.join(said)}")


SWEEPS: tuple[Renderer[Sweep], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=_table),
    json.RENDERER,
    Renderer(name="csv", suffixes=(".csv",), render=_csv),
    Renderer(name="markdown", suffixes=(".md", ".markdown"), render=_markdown),
    Renderer(name="html", suffixes=(".html", ".htm"), render=_html),
)
