"""What a budget asks, and what became of it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from convsv_cli.renderers.numbers import DIGITS, LOWER, as_written, counted, figure
from convsv_cli.renderers.verdict_text import OUTCOMES
from convsv_cli.report import EXCEEDED, IGNORED, MISSING, PASSED, UNDECIDED, UPPER, Gate, Verdict

CLOSE = 0.01
"""Of a limit: what misses it by less is shown with more digits."""
SYMBOLS = {EXCEEDED: "✕", MISSING: "?", UNDECIDED: "?", IGNORED: "\N{EN DASH}", PASSED: "✓"}
TONES = {EXCEEDED: "fail", MISSING: "warn", UNDECIDED: "warn", IGNORED: "mute", PASSED: "pass"}
NETWORK = "the whole network"


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """A limit, as it is read."""

    tone: str
    symbol: str
    outcome: str
    node: str
    whole: bool
    measured: str
    limit: str
    used: str
    reason: str
    place: str


@dataclass(frozen=True, kw_only=True)
class Gates:
    """Those that need attention, the worst first, and the others."""

    budget: str
    open: tuple[GateRow, ...]
    kept: tuple[GateRow, ...]
    kept_title: str


def gates_of(verdict: Verdict | None) -> Gates | None:
    """The limits of a verdict; None without one."""
    if verdict is None:
        return None
    ranked = sorted(verdict.gates, key=lambda gate: OUTCOMES.index(gate.outcome))
    kept = tuple(gate_row(gate) for gate in ranked if gate.outcome == PASSED)
    return Gates(
        budget=verdict.budget,
        open=tuple(gate_row(gate) for gate in ranked if gate.outcome != PASSED),
        kept=kept,
        kept_title=f"{counted(len(kept), 'limit')} kept",
    )


def gate_row(gate: Gate) -> GateRow:
    """A gate in words."""
    return GateRow(
        tone=TONES[gate.outcome],
        symbol=SYMBOLS[gate.outcome],
        outcome=gate.outcome,
        node=gate.node or NETWORK,
        whole=not gate.node,
        measured=_measured(gate),
        limit=as_written(gate.limit),
        used=_used(gate),
        reason=gate.reason,
        place="" if gate.place is None else f"{gate.place.path}:{gate.place.line}",
    )


def outcomes(verdict: Verdict) -> Counter[str]:
    """How many gates ended how."""
    return Counter(gate.outcome for gate in verdict.gates)


def limits_of(verdict: Verdict | None) -> dict[str, Gate]:
    """By layer the gate that decides, `""` for the network; the tightest where there are several."""
    gates = () if verdict is None else verdict.gates
    return {gate.node: gate for gate in sorted(gates, key=lambda gate: -gate.limit)}


def _measured(gate: Gate) -> str:
    enclosure = gate.enclosure
    if enclosure is None:
        return "nothing"
    if math.isinf(enclosure.upper):
        return "no upper end" if not enclosure.lower else f"≥ {figure(enclosure.lower, LOWER)}"
    near = any(abs(end - gate.limit) < CLOSE * gate.limit for end in (enclosure.lower, enclosure.upper))
    digits = 2 * DIGITS if near else DIGITS
    upper = f"≤ {figure(enclosure.upper, UPPER, digits)}"
    return f"{figure(enclosure.lower, LOWER, digits)} … {upper}" if enclosure.lower else upper


def _used(gate: Gate) -> str:
    """How much of the limit the upper end takes."""
    if gate.enclosure is None or not gate.limit or math.isinf(gate.enclosure.upper):
        return ""
    return f"{100 * gate.enclosure.upper / gate.limit:.4g} %"
