"""The table for people: every layer, what each column proves, and what was taken for granted."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convsv_cli.names import inert
from convsv_cli.renderers.audit_text import (
    TEXTS,
    about_routes,
    columns,
    covered,
    described,
    factor,
    methods_of,
    network_lines,
    routes_differ,
    share_heading,
    share_text,
    status,
    with_shares,
)
from convsv_cli.renderers.numbers import counted
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.verdict_text import about, headline, node, open_gates, where
from convsv_cli.report import (
    AUDITED,
    CERTIFIED,
    EXACT,
    NOT_APPLICABLE,
    NOT_REACHED,
    UPPER,
    Audit,
    Block,
    Finding,
    LayerAudit,
    Method,
    Report,
    Verdict,
)

if TYPE_CHECKING:
    from rich.table import Table

EXPENDABLE = ("op", "bound/exact", "kernel", "heuristic", "stride", "n", "exact", "bound")
"""Columns that a narrow terminal goes without, the first ones first; names and certified norms stay."""
FEWEST = 2
STYLES = {AUDITED: "", NOT_APPLICABLE: "dim"}


def render(report: Report, terminal: Terminal) -> str:
    """Each audit in turn, and the models that could not be audited; texts from files are made inert here."""
    report = inert(report)
    failures = [f"failed: {failure.message}\n" for failure in report.failures]
    return "\n".join([*(_audit(audit, terminal) for audit in report.audits), *failures])


def _audit(audit: Audit, terminal: Terminal) -> str:
    """Title, table, products, remarks and legend."""
    model, largest = audit.model, _largest(audit)
    parts: list[str | _Table] = [
        " · ".join([*described(model.path, model.format, model.opset, model.input_shape), covered(audit)]),
        *_verdict(audit.verdict, audit.findings),
        "",
        _layers(audit, largest, terminal.width),
        "",
        *network_lines(audit),
        *([f"largest layer: {largest}"] if largest else []),
    ]
    if terminal.explain and audit.bound.blocks:
        remark = about_routes(audit.bound.blocks)
        parts += ["", _blocks(audit.bound.blocks), *([remark] if remark else [])]
    remarks = _remarks(audit)
    every = [*parts, *(["", *remarks] if remarks else []), "", *_legend(methods_of(audit))]
    text = _plain(every) if terminal.width is None else _wrapped(every, terminal.width, color=terminal.color)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _plain(parts: Sequence[str | _Table]) -> str:
    """As it is: in a file, no line is ever cut."""
    return "\n".join(part if isinstance(part, str) else "\n".join(part.lines()) for part in parts)


def _wrapped(parts: Sequence[str | _Table], width: int, *, color: bool) -> str:
    """As it fits into a terminal."""
    from rich.console import Console

    text = io.StringIO()
    console = Console(
        file=text,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for part in parts:
        console.print(part if isinstance(part, str) else part.folded())
    return text.getvalue()


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table without frames.

    Attributes:
        columns: the cells of each, by its heading.
        texts: the columns that are read from the left.
        styles: of the rows, on terminals with colours.
    """

    columns: Mapping[str, Sequence[str]]
    texts: Collection[str]
    styles: Sequence[str]

    def lines(self) -> list[str]:
        """As wide as it takes."""
        from rich.cells import cell_len

        columns = [[name, *cells] for name, cells in self.columns.items()]
        sizes = [[len(cell) if cell.isascii() else cell_len(cell) for cell in cells] for cells in columns]
        widths = [max(size) for size in sizes]
        padded = []
        for cells, size, width in zip(columns, sizes, widths, strict=True):
            left = cells[0] in self.texts
            padded.append([_padded(cell, width - n, left=left) for cell, n in zip(cells, size, strict=True)])
        rows = ["  ".join(row) for row in zip(*padded, strict=True)]
        return [rows[0], "─" * (sum(widths) + 2 * len(widths) - 2), *rows[1:]]

    def folded(self) -> Table:
        """For a terminal: names are folded, never cut."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(
            box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
        )
        for name in self.columns:
            table.add_column(name, justify="left" if name in self.texts else "right", overflow="fold")
        for style, *row in zip(self.styles, *self.columns.values(), strict=True):
            table.add_row(*row, style=style)
        return table


def _padded(cell: str, room: int, *, left: bool) -> str:
    return f"{cell}{' ' * room}" if left else f"{' ' * room}{cell}"


def _verdict(verdict: Verdict | None, findings: Sequence[Finding]) -> list[str]:
    """The budget's conclusion, and each gate that did not pass."""
    if verdict is None:
        return []
    gates = open_gates(verdict)
    width = max((len(gate.outcome) for gate in gates), default=0)
    lines = [f"  {gate.outcome:{width}}  {node(gate)}: {about(gate)}" for gate in gates]
    return ["", f"budget {headline(verdict, findings)}", *lines]


def _layers(audit: Audit, largest: str, width: int | None) -> _Table:
    """All columns, or those that fit into a terminal; names are never cut."""
    cells = columns(audit)
    for name in EXPENDABLE:
        if width is None or _width(cells) <= width or len(cells) == FEWEST:
            break
        cells.pop(name, None)
    styles = [
        "bold yellow" if layer.name == largest else STYLES.get(layer.status, "red") for layer in audit.layers
    ]
    return _Table(columns=cells, texts=TEXTS, styles=styles)


def _blocks(blocks: tuple[Block, ...]) -> _Table:
    """Where the bound comes from."""
    shared = with_shares(blocks)
    columns = {
        "block": [block.name for block in shared],
        "operators": [" ".join(block.ops) for block in shared],
        **({"route": [block.route for block in shared]} if routes_differ(blocks) else {}),
        "factor ≤": [factor(block) for block in shared],
        share_heading(blocks): [share_text(block) for block in shared],
    }
    heaviest = max(shared, key=lambda block: block.factor)
    styles = ["bold yellow" if block is heaviest else "" for block in shared]
    return _Table(columns=columns, texts=("block", "operators", "route"), styles=styles)


def _width(cells: dict[str, list[str]]) -> int:
    return sum(max(map(len, [name, *column])) + 2 for name, column in cells.items()) - 2


def _largest(audit: Audit) -> str:
    """The layer with the largest exact norm, certified norm or bound: the first that all layers have."""
    for kind in (EXACT, CERTIFIED, UPPER):
        for method in audit.methods:
            measured = [
                (m.value, layer.name) for layer in audit.layers if (m := layer.measurement(method.name))
            ]
            if method.kind == kind and measured and len(measured) == audit.audited:
                return max(measured)[1]
    return ""


def _remarks(audit: Audit) -> list[str]:
    """Layers without figures, and each assumption with the number of layers that it is for."""
    skipped = [_skipped(row) for row in audit.layers if row.status != AUDITED and row.reason != NOT_REACHED]
    others = [_remark(f) for f in audit.findings if f.limit is None and (f.place or not f.node)]
    imprecise = [
        f"{f.node}: {f.message}"
        for rule in ("exact-unavailable", "work-limit")
        for f in audit.findings
        if f.rule == rule
    ]
    counts = Counter(line for layer in audit.layers for line in layer.assumed)
    assumed = [f"assumed: {line} ({counted(count, 'layer')})" for line, count in counts.items()]
    return [*skipped, *imprecise, *assumed, *others]


def _skipped(layer: LayerAudit) -> str:
    kind = status(layer) if layer.status == NOT_APPLICABLE else "not audited"
    return f"{kind}: {layer.name}: {layer.reason}"


def _remark(finding: Finding) -> str:
    node = f"{finding.node}: " if finding.node else ""
    return f"{finding.severity}: {node}{finding.message}{where(finding.place)}"


def _legend(methods: list[Method]) -> list[str]:
    width = max((len(method.column) for method in methods), default=0)
    return [f"{method.column:{width}}  {method.proves}" for method in methods]


RENDERER = Renderer(name="table", suffixes=(".txt",), render=render)
