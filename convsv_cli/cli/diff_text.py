"""Two audits beside each other: as a table, as JSON, as Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from convsv_cli.comparison import Change, changes
from convsv_cli.renderers import markdown_text
from convsv_cli.renderers.numbers import figure
from convsv_cli.renderers.verdict_text import about, headline, node, open_gates
from convsv_cli.report import UPPER, Audit, Interval, conclusion
from convsv_cli.sanitize import printable
from convsv_cli.version import __version__

HEADINGS = ("layer", "before ≤", "after ≤", "ratio", "change")
SCHEMA_VERSION = "1.0"
READABLE = 0.01


def table(old: Audit, new: Audit) -> str:
    """A row a layer, as text."""
    rows = [HEADINGS, *(_row(change, printable) for change in changes(old, new))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *figures, last = (text.ljust(w) for text, w in zip(row, widths, strict=True))
        right = (text.strip().rjust(w) for text, w in zip(figures, widths[1:-1], strict=True))
        lines.append("  ".join([first, *right, last]).rstrip())
    lines.insert(1, "─" * max(map(len, lines)))
    title = printable(f"{old.model.path} → {new.model.path}")
    return "\n".join([title, "", *lines, *_verdict(new)]) + "\n"


def markdown(old: Audit, new: Audit) -> str:
    """A row a layer, as a table of GitHub's Markdown."""
    rows = [_row(change, markdown_text.code) for change in changes(old, new)]
    lines = markdown_text.table(HEADINGS, (False, True, True, True, False), rows)
    verdict = ["", markdown_text.fenced(_verdict(new)[1:])] if new.verdict else []
    title = " → ".join(markdown_text.code(audit.model.path) for audit in (old, new))
    return "\n".join([title, "", *lines, *verdict]) + "\n"


def document(old: Audit, new: Audit) -> str:
    """JSON; what is not finite is null. Fields are only ever added within a major version."""
    gates = new.verdict.gates if new.verdict else ()
    fields = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "convsv", "version": __version__},
        "command": "diff",
        "old": {"path": old.model.path, "sha256": old.model.sha256},
        "new": {"path": new.model.path, "sha256": new.model.sha256},
        "changes": [_fields(change) for change in changes(old, new)],
        "gates": [
            {"node": gate.node, "limit": gate.limit, "outcome": gate.outcome, "reason": gate.reason or None}
            for gate in gates
        ],
        "outcome": new.verdict and conclusion(new.verdict, new.findings),
    }
    return json.dumps(fields, indent=2, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Audit, Audit], str]] = {"table": table, "json": document, "markdown": markdown}
SUFFIXES = {".txt": "table", ".json": "json", ".md": "markdown"}


def _verdict(audit: Audit) -> list[str]:
    """How the gates ended, where there are any."""
    if audit.verdict is None:
        return []
    lines = [f"  {gate.outcome}  {node(gate)}: {about(gate)}" for gate in open_gates(audit.verdict)]
    return ["", headline(audit.verdict, audit.findings), *lines]


def _row(change: Change, shown: Callable[[str], str]) -> tuple[str, ...]:
    """The cells; `shown` makes names harmless."""
    was = f" (was {shown(change.before)}, by {change.matched})" if change.renamed else ""
    name = shown(change.name) if change.name else "network"
    ratio = "" if change.ratio is None else _ratio(change.ratio)
    return (
        name,
        _upper(change.old),
        _upper(change.new),
        ratio,
        change.kind + was,
    )


def _ratio(value: float) -> str:
    """A change of a hundredth of a percent is seen, and a millionth is not 0."""
    return f"{value:.4f}" if value >= READABLE or not value else figure(value)


def _upper(interval: Interval | None) -> str:
    return "" if interval is None else figure(interval.upper, UPPER)


def _fields(change: Change) -> dict[str, Any]:
    return {
        "layer": change.name or None,
        "before": change.before or None,
        "change": change.kind,
        "matched": change.matched or None,
        "old": _ends(change.old),
        "new": _ends(change.new),
        "ratio": change.ratio,
    }


def _ends(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    ends = {"lower": interval.lower, "upper": interval.upper}
    return {name: end if math.isfinite(end) else None for name, end in ends.items()}
