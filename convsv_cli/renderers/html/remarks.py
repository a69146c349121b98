"""Findings and assumptions: each said once, with the nodes that it is about."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.report import ERROR, NOTE, WARNING, Audit

SEVERITY = (ERROR, WARNING, NOTE)
SYMBOLS = {ERROR: "✕", WARNING: "!", NOTE: "i"}
TONES = {ERROR: "fail", WARNING: "warn", NOTE: "note"}
ELSEWHERE = ("assumed", "unbounded-node")
"""Rules whose findings are assumptions, and obstacles of the network's bound."""


@dataclass(frozen=True, kw_only=True)
class Remark:
    """A message, and the nodes that it is about; none for the whole network or file."""

    tone: str
    symbol: str
    severity: str
    rule: str
    message: str
    nodes: tuple[str, ...]


def findings_of(audit: Audit) -> tuple[Remark, ...]:
    """The worst first. Those of a budget are among the gates already."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for finding in audit.findings:
        if finding.rule not in ELSEWHERE and finding.limit is None:
            groups.setdefault((finding.severity, finding.rule, finding.message), []).append(finding.node)
    ranked = sorted(groups.items(), key=lambda group: SEVERITY.index(group[0][0]))
    return tuple(
        Remark(
            tone=TONES[severity],
            symbol=SYMBOLS[severity],
            severity=severity,
            rule=rule,
            message=message,
            nodes=tuple(filter(None, nodes)),
        )
        for (severity, rule, message), nodes in ranked
    )


def assumptions_of(audit: Audit) -> tuple[Remark, ...]:
    """What was taken for granted: of layers, with their names, and of the network."""
    layers = {
        line: tuple(layer.name for layer in audit.layers if line in layer.assumed)
        for line in audit.network.assumptions
    }
    lines = {**layers, **{line: layers.get(line, ()) for line in audit.bound.assumptions}}
    return tuple(
        Remark(
            tone=TONES[NOTE], symbol=SYMBOLS[NOTE], severity=NOTE, rule="assumed", message=line, nodes=nodes
        )
        for line, nodes in lines.items()
    )
