"""A row a layer: as text, as Markdown, and in full precision as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable

from convsv_cli.renderers import markdown_text
from convsv_cli.renderers.numbers import figure
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.renderers.verdict_text import about, headline, node, open_gates
from convsv_cli.report import UPPER, Audit, Change, Difference, Interval
from convsv_cli.sanitize import printable, spreadsheet_cell

HEADINGS = ("layer", "before ≤", "after ≤", "ratio", "change")
CSV_HEADINGS = (
    "layer", "before", "change", "matched", "old_lower", "old_upper", "new_lower", "new_upper", "ratio"
)  # fmt: skip
READABLE = 0.01


def table(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """A row a layer, as text."""
    rows = [HEADINGS, *(row(change, printable) for change in difference.changes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for each in rows:
        first, *figures, last = (text.ljust(w) for text, w in zip(each, widths, strict=True))
        right = (text.strip().rjust(w) for text, w in zip(figures, widths[1:-1], strict=True))
        lines.append("  ".join([first, *right, last]).rstrip())
    lines.insert(1, "─" * max(map(len, lines)))
    title = printable(f"{difference.old.model.path} → {difference.new.model.path}")
    return "\n".join([title, "", *lines, *_verdict(difference.new)]) + "\n"


def markdown(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """A row a layer, as a table of GitHub's Markdown."""
    rows = [row(change, markdown_text.code) for change in difference.changes]
    lines = markdown_text.table(HEADINGS, (False, True, True, True, False), rows)
    new = difference.new
    verdict = ["", markdown_text.fenced(_verdict(new)[1:])] if new.verdict else []
    title = " → ".join(markdown_text.code(audit.model.path) for audit in (difference.old, new))
    return "\n".join([title, "", *lines, *verdict]) + "\n"


def comma_separated(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """A row for the network, without a name, and one a layer; texts are inert for spreadsheets."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADINGS)
    for change in difference.changes:
        names = map(spreadsheet_cell, (change.name, change.before, change.kind, change.matched))
        writer.writerow([*names, *_ends(change.old), *_ends(change.new), change.ratio])
    return text.getvalue()


def row(change: Change, shown: Callable[[str], str]) -> tuple[str, ...]:
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
    """How the gates ended, where there are any."""
    if audit.verdict is None:
        return []
    lines = [f"  {gate.outcome}  {node(gate)}: {about(gate)}" for gate in open_gates(audit.verdict)]
    return ["", headline(audit.verdict, audit.findings), *lines]


def _ratio(value: float) -> str:
    """A change of a hundredth of a percent is seen, and a millionth is not 0."""
    return f"{value:.4f}" if value >= READABLE or not value else figure(value)


def _upper(interval: Interval | None) -> str:
    return "" if interval is None else figure(interval.upper, UPPER)


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    """What JSON says of them: nothing of what is not finite."""
    ends = (math.inf, math.inf) if interval is None else (interval.lower, interval.upper)
    lower, upper = (end if math.isfinite(end) else None for end in ends)
    return lower, upper
