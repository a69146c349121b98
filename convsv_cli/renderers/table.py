"""The table for people: every layer, what each column proves, and what was taken for granted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from convsv_cli.names import inert
from convsv_cli.renderers.audit_text import (
    about_routes,
    covered,
    described,
    factor,
    network_lines,
    routes_differ,
    share_heading,
    share_text,
    with_shares,
)
from convsv_cli.renderers.columns import (
    PRODUCTS,
    SPREAD,
    TEXTS,
    UPDATES,
    columns,
    methods_of,
    product_columns,
    status,
)
from convsv_cli.renderers.numbers import counted
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.screen import BAD, FAINT, STRESSED, Line, Part, Table, fitting, indented, shown
from convsv_cli.renderers.verdict_text import in_words, open_gates, verdict_lines, where
from convsv_cli.report import (
    AUDITED,
    CERTIFIED,
    EXACT,
    IGNORED,
    NOT_APPLICABLE,
    NOT_REACHED,
    NOTE,
    PASSED,
    UPPER,
    Audit,
    Block,
    Finding,
    LayerAudit,
    Report,
    Verdict,
    conclusion,
)
from convsv_cli.report.verdict import CODES

EXPENDABLE = (
    "op", "bound/exact", "kernel", "heuristic", "stride", "n", "exact", "bound", "base", "stable rank",
    "update",
)  # fmt: skip
"""Columns that a narrow terminal goes without, the first ones first; names and certified norms stay."""
MANY = 5
"""Of so many layers the same reason is told once."""
STYLES = {AUDITED: "", NOT_APPLICABLE: FAINT}


def render(report: Report, terminal: Terminal) -> str:
    """Each audit in turn, and the models that could not be audited; texts from files are made inert here."""
    report = inert(report)
    audits = [
        _judged(audit, audit.verdict) if audit.verdict and not terminal.full else _audit(audit, terminal)
        for audit in report.audits
    ]
    failures: list[list[Part]] = [
        [Line(word="failed", after=f": {each.message}", style=BAD, indent=2)] for each in report.failures
    ]
    several = [_counted(report)] if len(audits) + len(failures) > 1 and not terminal.full else []
    return "\n".join(shown(each, terminal) for each in (*audits, *failures, *several))


def _audit(audit: Audit, terminal: Terminal) -> list[Part]:
    """Title, table, products, remarks and legend."""
    largest, verdict = _largest(audit), audit.verdict
    table = _layers(audit, largest, terminal.width)
    parts: list[Part] = [
        _title(audit),
        *_verdict(verdict, audit.findings),
        "",
        table,
        *_left_out(audit, table),
        "",
        *_products(audit),
        *indented(network_lines(audit), 4),
        *([f"largest layer: {largest}"] if largest else []),
    ]
    if terminal.explain and audit.bound.blocks:
        remark = about_routes(audit.bound.blocks)
        parts += ["", _blocks(audit.bound.blocks), *([remark] if remark else [])]
    remarks = [*_urgent(audit), *_further(audit)]
    return [*parts, *(["", *indented(remarks, 2)] if remarks else []), "", *_legend(audit, table.columns)]


def _verdict(verdict: Verdict | None, findings: Sequence[Finding]) -> list[Part]:
    """The budget's conclusion, and each gate that did not pass."""
    return [] if verdict is None else ["", *verdict_lines(verdict, findings, open_gates(verdict))]


def _judged(audit: Audit, verdict: Verdict) -> list[Part]:
    """Title, verdict, what did not pass, and how much is not shown."""
    settled = (PASSED, IGNORED)
    gates = [gate for gate in open_gates(verdict) if gate.outcome not in settled]
    urgent, further = _urgent(audit, {gate.node for gate in verdict.gates}), _further(audit)
    remarks = f" and {counted(len(further), 'remark')}" if further else ""
    kept = sum(gate.outcome == PASSED for gate in verdict.gates)
    limits = f"{kept:,} of {len(verdict.gates):,} limits kept; " if gates else ""
    return [
        _title(audit),
        "",
        *verdict_lines(verdict, audit.findings, gates),
        *indented([f"  {line}" for line in urgent], 4),
        "",
        f"{limits}--verbose shows {counted(len(audit.layers), 'layer')}{remarks}",
    ]


def _counted(report: Report) -> list[Part]:
    """How many models ended in which way."""
    ends = Counter(conclusion(audit.verdict, audit.findings) for audit in report.audits)
    parts = [f"{ends[end]} {in_words(end)}" for end in CODES if ends[end]]
    parts += [f"{len(report.failures)} could not be checked"] if report.failures else []
    return [f"{counted(len(report.audits) + len(report.failures), 'model')}: {', '.join(parts)}"]


def _title(audit: Audit) -> Line:
    """Which model it is, and how much of it was audited."""
    model = audit.model
    facts = [*described(model.path, model.format, model.opset, model.input_shape), covered(audit)]
    return Line(after=" · ".join(facts), indent=2)


def _layers(audit: Audit, largest: str, width: int | None) -> Table:
    """All columns, or those that fit into a terminal; names are never cut."""
    cells = fitting(columns(audit), width, EXPENDABLE)
    styles = [STRESSED if layer.name == largest else STYLES.get(layer.status, BAD) for layer in audit.layers]
    return Table(columns=cells, texts=TEXTS, styles=styles)


def _left_out(audit: Audit, table: Table) -> list[Part]:
    """Which columns with figures or words had no room."""
    cells = columns(audit)
    left = [name for name in cells if name not in table.columns and any(cells[name])]
    return indented([f"no room for {', '.join(left)} (-o FILE has all columns)"], 2) if left else []


def _products(audit: Audit) -> list[Part]:
    """Those of attention, where they were asked for."""
    if not audit.products:
        return []
    cells = product_columns(audit.products)
    styles = [""] * len(cells["attention"])
    return [Table(columns=cells, texts=("attention", "reason"), styles=styles), "", *_explained(PRODUCTS), ""]


def _blocks(blocks: tuple[Block, ...]) -> Table:
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
    styles = [STRESSED if block is heaviest else "" for block in shared]
    return Table(columns=columns, texts=("block", "operators", "route"), styles=styles)


def _largest(audit: Audit) -> str:
    """The layer with the largest exact norm, certified norm or bound: the first that all layers have.

    Empty where there is none, or not all were reached.
    """
    if any(layer.reason == NOT_REACHED for layer in audit.layers):
        return ""
    for kind in (EXACT, CERTIFIED, UPPER):
        for method in audit.methods:
            measured = [
                (m.value, layer.name) for layer in audit.layers if (m := layer.measurement(method.name))
            ]
            if method.kind == kind and measured and len(measured) == audit.audited:
                return max(measured)[1]
    return ""


def _urgent(audit: Audit, told: Collection[str] = ()) -> list[str]:
    """Layers that should have figures and have none, but for those that were told of, errors and warnings."""
    fine = (AUDITED, NOT_APPLICABLE)
    skipped = [
        each
        for each in audit.layers
        if each.status not in fine and each.reason != NOT_REACHED and each.name not in told
    ]
    return [
        *_skipped(skipped),
        *(_remark(finding) for finding in _general(audit) if finding.severity != NOTE),
    ]


def _further(audit: Audit) -> list[str]:
    """What is no layer, and each assumption with the number of layers that it is for."""
    skipped = _skipped([layer for layer in audit.layers if layer.status == NOT_APPLICABLE])
    imprecise = [
        f"{f.node}: {f.message}"
        for rule in ("exact-unavailable", "work-limit")
        for f in audit.findings
        if f.rule == rule
    ]
    counts = Counter(line for layer in audit.layers for line in layer.assumed)
    assumed = [f"assumed: {line} ({counted(count, 'layer')})" for line, count in counts.items()]
    return [*skipped, *imprecise, *assumed, *(_remark(f) for f in _general(audit) if f.severity == NOTE)]


def _general(audit: Audit) -> Iterator[Finding]:
    """Findings about more than a layer or a node, or about a line of the budget."""
    return (f for f in audit.findings if f.limit is None and (f.place or not f.node))


def _skipped(layers: Sequence[LayerAudit]) -> list[str]:
    """Why each has no figures; what is the same of many is said once, for the table names them."""
    alike: dict[tuple[str, str], list[str]] = {}
    for layer in layers:
        kind = status(layer) if layer.status == NOT_APPLICABLE else "not audited"
        alike.setdefault((kind, layer.reason), []).append(layer.name)
    lines = []
    for (kind, reason), names in alike.items():
        some = names if len(names) < MANY else [f"{counted(len(names), 'layer')}, such as {names[0]}"]
        lines += [f"{kind}: {each}: {reason}" for each in some]
    return lines


def _remark(finding: Finding) -> str:
    node = f"{finding.node}: " if finding.node else ""
    return f"{finding.severity}: {node}{finding.message}{where(finding.place)}"


def _legend(audit: Audit, shown: Collection[str]) -> list[Part]:
    """What the columns that are shown prove; of an adapter, "stable rank" is that of what it adds."""
    said = {method.column: method.proves for method in methods_of(audit)}
    meanings = SPREAD | UPDATES if "update" in columns(audit) else SPREAD
    said = {name: meaning for name, meaning in (said | meanings).items() if name in shown}
    return _explained(said)


def _explained(meanings: Mapping[str, str]) -> list[Part]:
    """A line for each column, below each other."""
    width = max(map(len, meanings), default=0)
    return indented([f"{name:{width}}  {meaning}" for name, meaning in meanings.items()], width + 2)


RENDERER = Renderer(name="table", suffixes=(".txt",), render=render)
