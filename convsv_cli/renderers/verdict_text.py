"""What a budget makes of an audit, in words that all formats for people share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR

from convsv_cli.digits import short
from convsv_cli.names import printable
from convsv_cli.renderers.numbers import excess
from convsv_cli.renderers.screen import STYLE_OF, Line
from convsv_cli.report import (
    ADDED,
    EMPTY,
    EXCEEDED,
    IGNORED,
    LEFT_OUT,
    MISSING,
    MISTAKEN,
    NOT_AUDITED,
    NOT_HELD,
    PASSED,
    QUANTISED,
    REMOVED,
    STEPS,
    UNDECIDED,
    UNUSED,
    Finding,
    Gate,
    Place,
    Verdict,
    conclusion,
)

OUTCOMES = (EXCEEDED, UNDECIDED, MISSING, IGNORED, PASSED)
"""The worst first."""
DIGITS, EXACTLY = 8, 15
"""Enough that a limit and a norm that barely exceeds it do not look alike."""
UNLIMITED, COMPLETE = "no limit applies", "no limits, only that all layers be audited or ignored"
COUNTED = (
    ("layer not audited", "layers not audited", NOT_AUDITED),
    ("part of the file left out", "parts of the file left out", (LEFT_OUT,)),
    ("without a limit", "without a limit", NOT_HELD),
    ("layer added", "layers added", (ADDED,)),
    ("layer removed", "layers removed", (REMOVED,)),
    ("model without layers", "models without layers", (EMPTY,)),
    ("part of the budget unused", "parts of the budget unused", (UNUSED,)),
)
"""Findings that a verdict counts: the noun for one, and for several."""
WORDS = {MISTAKEN: "invalid"}
"""Conclusions that people are told in another word than programs."""
TERMS = {QUANTISED: "network beside its steps", STEPS: "steps of the network"}
"""What is limited of a network that rounds."""


def headline(verdict: Verdict, findings: Sequence[Finding]) -> str:
    """One line: the conclusion, the number of gates per outcome, and what was not audited."""
    counts = Counter(gate.outcome for gate in verdict.gates)
    parts = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]]
    ended = conclusion(verdict, findings)
    if not parts:
        parts = [COMPLETE if ended == PASSED else UNLIMITED]
    for one, more, rules in COUNTED:
        count = sum(finding.rule in rules for finding in findings)
        parts += [f"{count} {one if count == 1 else more}"] if count else []
    return f"{in_words(ended)}: {', '.join(parts)} ({printable(verdict.budget)})"


def in_words(ended: str) -> str:
    """A conclusion, for people."""
    return WORDS.get(ended, ended)


def verdict_lines(verdict: Verdict, findings: Sequence[Finding], gates: Sequence[Gate]) -> list[Line]:
    """The conclusion of a budget, and what became of these gates, for people."""
    ended = conclusion(verdict, findings)
    word = in_words(ended)
    text = headline(verdict, findings).removeprefix(word)
    width = max((len(gate.outcome) for gate in gates), default=0)
    lines = [
        Line(
            before="  ",
            word=gate.outcome,
            after=f"{' ' * (width - len(gate.outcome))}  {node(gate)}: {about(gate)}",
            style=STYLE_OF.get(gate.outcome, ""),
            indent=width + 4,
        )
        for gate in gates
    ]
    return [Line(before="budget ", word=word, after=text, style=STYLE_OF.get(ended, ""), indent=2), *lines]


def open_gates(verdict: Verdict) -> list[Gate]:
    """All that did not simply pass, the worst first."""
    gates = [gate for gate in verdict.gates if gate.outcome != PASSED]
    return sorted(gates, key=lambda gate: OUTCOMES.index(gate.outcome))


def about(gate: Gate) -> str:
    """What was measured, the limit, why it was not decided, and where the budget sets it."""
    reason = f": {printable(gate.reason)}" if gate.reason else ""
    return f"{measured(gate)}, {_over(gate)}limit {limit(gate)}{reason}{where(gate.place)}"


def measured(gate: Gate) -> str:
    """The enclosure, its ends rounded outwards."""
    if gate.enclosure is None or math.isinf(gate.enclosure.upper):
        return "no certified bound" if gate.enclosure is None or gate.node else "a bound beyond 1e308"
    upper = _rounded(gate.enclosure.upper, ROUND_CEILING)
    if not gate.enclosure.lower:
        return f"certified ≤ {upper}"
    return f"certified {_rounded(gate.enclosure.lower, ROUND_FLOOR)} to {upper}"


def limit(gate: Gate) -> str:
    """The limit, as it was written."""
    return short(gate.limit, EXACTLY)


def node(gate: Gate) -> str:
    """The layer; the pair of tensors or the network where it is none."""
    if gate.start:
        return printable(f"from {gate.start!r} to {gate.end!r}")
    if gate.quantity:
        return TERMS.get(gate.quantity, printable(gate.quantity))
    return printable(gate.node) or "network"


def where(place: Place | None) -> str:
    """The line of the budget, in brackets."""
    return f" ({printable(place.path)}:{place.line})" if place else ""


def _over(gate: Gate) -> str:
    """By how much a limit is exceeded: by a layer's norm at least, by the network's bound."""
    if gate.outcome != EXCEEDED or gate.enclosure is None:
        return ""
    return f"{excess(gate.enclosure.lower if gate.node else gate.enclosure.upper, gate.limit)} its "


def _rounded(value: float, rounding: str) -> str:
    return short(value, DIGITS, rounding)
