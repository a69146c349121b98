"""Markdown for step summaries and comments: the verdict, the worst layers, then all of them folded away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from convsv_cli.names import inert, printable
from convsv_cli.renderers.audit_text import covered, network_lines
from convsv_cli.renderers.columns import PRODUCTS, TEXTS, columns, product_columns
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.verdict_text import OUTCOMES, headline, limit, measured, node, open_gates, where
from convsv_cli.report import (
    AUDITED,
    CERTIFIED,
    CHANGES,
    IGNORED,
    NOT_APPLICABLE,
    NOTE,
    Audit,
    Finding,
    Gate,
    LayerAudit,
    Report,
    Verdict,
)

WORST = 20
LARGEST = 2**20 - 2**12
"""Bytes: GitHub refuses step summaries of more than 1 MiB."""
ELSEWHERE = "in the JSON report"
LONGEST = 200
"""Characters of a name."""
PROSE = re.compile(r"[A-Za-z0-9(][A-Za-z0-9 .,;:()/≤×→…%'+=-]*")
LINK = re.compile(r"://|www\.", re.IGNORECASE)
RUNS = re.compile("`+")


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """A section for each audit, and how many did not fit."""
    report = inert(report)
    failures = [f"- failed: {prose(failure.message)}" for failure in report.failures]
    kept = fitting(failures, LARGEST // 4)
    share = (LARGEST * 3 // 4) // max(1, len(report.audits))
    sections = [_section(audit, share) for audit in report.audits]
    shown = fitting(sections, LARGEST * 3 // 4)
    left = len(failures) - len(kept) + len(sections) - len(shown)
    more = [f"… and {left} more models, {ELSEWHERE}"] if left else []
    return "\n\n".join([*shown, *(["\n".join(kept)] if kept else []), *more]) + "\n"


def _section(audit: Audit, share: int) -> str:
    """One audit, in about `share` bytes."""
    rows = _Rows(audit)
    parts = [f"## {code(audit.model.path)}", covered(audit)]
    if audit.verdict is not None:
        parts += [f"**Budget {prose(headline(audit.verdict, audit.findings))}**", *_gates(audit.verdict)]
    parts += [fenced(network_lines(audit)), *_findings(audit), rows.table(_worst_first(audit)[:WORST])]
    if len(audit.layers) > WORST:
        summary = f"<details>\n<summary>All {len(audit.layers)} layers, in the file's order</summary>"
        room = share - sum(len(part.encode()) + 2 for part in parts) - 200
        parts += [summary, rows.table(range(len(audit.layers)), room), "</details>"]
    if audit.products:
        room = share - sum(len(part.encode()) + 2 for part in parts)
        parts.append("\n".join(fitting(_products(audit), room)))
    return "\n\n".join(parts)


def _products(audit: Audit) -> list[str]:
    """The table of attention's products, and what its columns are."""
    cells = product_columns(audit.products)
    rows = [[code(first), *map(prose, others)] for first, *others in zip(*cells.values(), strict=True)]
    legend = [f"- {prose(name)}: {prose(meaning)}" for name, meaning in PRODUCTS.items()]
    return [*table(list(map(prose, cells)), [False] + [True] * (len(cells) - 1), rows), "", *legend]


class _Rows:
    """The rows of the layers, as Markdown."""

    def __init__(self, audit: Audit) -> None:
        cells = columns(audit)
        cells["layer"] = [layer.name for layer in audit.layers]
        self.headings = [prose(name) for name in cells]
        quoted = ("layer", "op")
        self.rows = [
            [code(cell) if name in quoted else cell for name, cell in zip(cells, row, strict=True)]
            for row in zip(*cells.values(), strict=True)
        ]

    def table(self, chosen: range | list[int], room: int = LARGEST) -> str:
        """The chosen rows, or as many of them as fit."""
        right = [name not in TEXTS for name in self.headings]
        lines = table(self.headings, right, [self.rows[index] for index in chosen])
        kept = fitting(lines, room)
        left = len(lines) - max(2, len(kept))
        return "\n".join([*kept, *([f"\n… and {left} more layers, {ELSEWHERE}"] if left else [])])


def _worst_first(audit: Audit) -> list[int]:
    """Rows with gates that did not pass, layers without figures, the largest norms, then what is no layer."""
    gates = open_gates(audit.verdict) if audit.verdict else []
    outcome = {gate.node: OUTCOMES.index(gate.outcome) for gate in gates[::-1] if gate.outcome != IGNORED}
    certified = next((method.name for method in audit.methods if method.kind == CERTIFIED), "")

    def badness(index: int) -> tuple[int, int, float]:
        layer = audit.layers[index]
        rank = {AUDITED: 1, NOT_APPLICABLE: 2}.get(layer.status, 0)
        return outcome.get(layer.name, len(OUTCOMES)), rank, -_upper(layer, certified)

    return sorted(range(len(audit.layers)), key=badness)


def _upper(layer: LayerAudit, method: str) -> float:
    measurement = layer.measurement(method)
    return measurement.value if measurement else 0.0


def _gates(verdict: Verdict) -> list[str]:
    """A table of the gates that did not pass."""
    gates = open_gates(verdict)
    if not gates:
        return []
    headings = ("outcome", "layer", "measured", "limit", "budget", "reason")
    rows = table(headings, [False, False, True, True, False, False], map(_gate, gates[:WORST]))
    more = [f"\n… and {len(gates) - WORST} more, {ELSEWHERE}"] if len(gates) > WORST else []
    return ["\n".join([*rows, *more])]


def _gate(gate: Gate) -> list[str]:
    place = code(where(gate.place).strip(" ()")) if gate.place else ""
    reason = prose(gate.reason) if gate.reason else ""
    return [gate.outcome, code(node(gate)), measured(gate), limit(gate), place, reason]


def _findings(audit: Audit) -> list[str]:
    """Errors and warnings that are not gates, and notes about the file or the baseline."""
    shown = [f for f in audit.findings if f.limit is None and (f.severity != NOTE or _is_general(f))]
    lines = [f"- {f.severity}: {f'{code(f.node)}: ' if f.node else ''}{prose(f.message)}" for f in shown]
    more = [f"- … and {len(lines) - WORST} more, {ELSEWHERE}"] if len(lines) > WORST else []
    return ["\n".join([*lines[:WORST], *more])] if lines else []


def _is_general(finding: Finding) -> bool:
    """Whether a note is about more than the layer itself."""
    return not finding.node or finding.rule in CHANGES


def code(name: str) -> str:
    """A name as it is, in a code span; safe in table cells, and neither a mention nor a link on GitHub."""
    shown = printable(name[: LONGEST + 1])
    shown = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
    if shown and shown.strip() == shown and not set("`|\\") & set(shown):
        return f"`{shown}`"
    inert = (c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in shown or " ")
    return f"<code>{''.join(inert)}</code>"


def prose(text: str) -> str:
    """A sentence; where it holds what Markdown could take for markup, in a code span."""
    return text if PROSE.fullmatch(text) and not LINK.search(text) and len(text) < 5 * LONGEST else code(text)


def fenced(lines: Sequence[str]) -> str:
    """A block of lines as they are."""
    text = "\n".join(line[: 5 * LONGEST] for line in lines)
    fence = "`" * (max([2, *map(len, RUNS.findall(text))]) + 1)
    return f"{fence}text\n{text}\n{fence}"


def table(headings: Iterable[str], right: Iterable[bool], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table whose cells are Markdown; True for a column that is flush right."""
    rules = ["--:" if flush else "---" for flush in right]
    return [f"| {' | '.join(cells)} |" for cells in (list(headings), rules, *rows)]


def fitting(lines: Sequence[str], limit: int) -> list[str]:
    """As many of the lines as fit into `limit` bytes."""
    kept, used = [], 0
    for line in lines:
        used += len(line.encode()) + 1
        if used > limit:
            break
        kept.append(line)
    return kept


RENDERER = Renderer(name="markdown", suffixes=(".md", ".markdown"), render=render)
