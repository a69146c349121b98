"""Two audits compared: as a table, JSON, CSV, Markdown and a page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from convsv_cli.names import printable
from convsv_cli.renderers import json, markdown
from convsv_cli.renderers.csv import comma_separated
from convsv_cli.renderers.html.page import page
from convsv_cli.renderers.html.verdict import INFO, Headline, headline_of
from convsv_cli.renderers.numbers import counted, figure
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.verdict_text import about, headline, node, open_gates
from convsv_cli.report import UPPER, Audit, Change, Difference, Interval

HEADINGS = ("layer", "before ≤", "after ≤", "ratio", "change")
CSV_HEADINGS = (
    "layer", "before", "change", "matched", "old_lower", "old_upper", "new_lower", "new_upper", "ratio"
)  # fmt: skip
READABLE = 0.01


def _table(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """A row per layer, as text."""
    rows = [HEADINGS, *(_row(change, printable) for change in difference.changes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *figures, last in rows:
        right = [text.rjust(width) for text, width in zip(figures, widths[1:-1], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *right, last]).rstrip())
    lines.insert(1, "─" * max(map(len, lines)))
    title = printable(f"{difference.old.model.path} → {difference.new.model.path}")
    return "\n".join([title, "", *lines, *_verdict(difference.new)]) + "\n"


def _markdown(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """A row per layer, as a table of GitHub's Markdown."""
    rows = [_row(change, markdown.code) for change in difference.changes]
    lines = markdown.table(HEADINGS, (False, True, True, True, False), rows)
    new = difference.new
    verdict = ["", markdown.fenced(_verdict(new)[1:])] if new.verdict else []
    title = " → ".join(markdown.code(audit.model.path) for audit in (difference.old, new))
    return "\n".join([title, "", *lines, *verdict]) + "\n"


def _csv(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """A row for the network, without a name, and one per layer, in full precision."""
    rows = [
        (c.name, c.before, c.kind, c.matched, *_ends(c.old), *_ends(c.new), c.ratio)
        for c in difference.changes
    ]
    return comma_separated([CSV_HEADINGS, *rows])


def _html(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every text from a file is inert in it."""
    new = difference.new
    return page(
        "difference.html",
        difference=difference,
        headline=_counts(difference) if new.verdict is None else headline_of(new),
        rows=[_row(change, str) for change in difference.changes],
    )


def _counts(difference: Difference) -> Headline:
    """How many layers changed, and in which way."""
    kinds = Counter(change.kind for change in difference.changes if change.name)
    text = " · ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
    return Headline(tone=INFO, title=f"{counted(sum(kinds.values()), 'layer')} compared", text=text)


def _row(change: Change, shown: Callable[[str], str]) -> tuple[str, ...]:
    """The cells below `HEADINGS`.

    Args:
        change: what they are about.
        shown: makes names harmless.
    """
    was = f" (was {shown(change.before)}, by {change.matched})" if change.renamed else ""
    name = shown(change.name) if change.name else "network"
    ratio = "" if change.ratio is None else _ratio(change.ratio)
    return (name, _upper(change.old), _upper(change.new), ratio, change.kind + was)


def _verdict(audit: Audit) -> list[str]:
    """The outcomes of the gates, if there are any."""
    if audit.verdict is None:
        return []
    lines = [f"  {gate.outcome}  {node(gate)}: {about(gate)}" for gate in open_gates(audit.verdict)]
    return ["", headline(audit.verdict, audit.findings), *lines]


def _ratio(value: float) -> str:
    """A change of a hundredth of a percent is seen, and a millionth is not 0."""
    return f"{value:.4f}" if value >= READABLE or not value else figure(value)


def _upper(interval: Interval | None) -> str:
    return "" if interval is None else figure(interval.upper, UPPER)


def _ends(interval: Interval | None) -> tuple[float | None, ...]:
    """Its ends; None for those that are not finite, as in JSON."""
    ends = (None, None) if interval is None else (interval.lower, interval.upper)
    return tuple(end if end is not None and math.isfinite(end) else None for end in ends)


RENDERERS: tuple[Renderer[Difference], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=_table),
    json.RENDERER,
    Renderer(name="csv", suffixes=(".csv",), render=_csv),
    Renderer(name="markdown", suffixes=(".md", ".markdown"), render=_markdown),
    Renderer(name="html", suffixes=(".html", ".htm"), render=_html),
)
