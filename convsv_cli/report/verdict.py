"""What a budget makes of an audit, and what a command exits with: whatever the format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convsv_cli.deadline import INTERRUPTED
from convsv_cli.report.layer import Interval

if TYPE_CHECKING:
    from convsv_cli.report.audit import Report

ERROR, WARNING, NOTE = "error", "warning", "note"
PASSED, EXCEEDED, UNDECIDED, MISSING, IGNORED = "passed", "exceeded", "undecided", "missing", "ignored"
FAILED, INCOMPLETE, MISTAKEN = "failed", "incomplete", "mistaken"

NOT_AUDITED = ("unsupported-layer", "invalid-layer")
"""Rules of findings that leave an audit incomplete."""
NOT_HELD = ("nothing-gated", "no-baseline")
"""Rules of findings that leave a verdict incomplete: no limit holds a model, or a layer of it."""
LEFT_OUT = "left-out-weights"
"""Rule of findings about what could be weights and is no layer, which leave an audit incomplete, too."""
EMPTY = "no-layers"
"""Rule of the finding that a model has nothing to audit, which leaves a verdict incomplete, too."""
TIMED_OUT = "time-limit"
"""Rule of the finding that an audit ended by the clock: what is proven then may be wider than it need be."""
UNSETTLED = (*NOT_AUDITED, *NOT_HELD, EMPTY, LEFT_OUT, INTERRUPTED)
"""All of these, and that an audit was not made to its end."""
ABSENT = "absent-pair"
"""Rule of notes on limits between two tensors that a model does not have."""
UNUSED = "unused-budget"
"""Rule of findings about parts of a budget that hold nothing: as an error, a mistake in the budget."""
ADDED, REMOVED, RENAMED = CHANGES = ("added-layer", "removed-layer", "renamed-layer")
"""Rules of findings about layers that are not what they were in a baseline; errors where it is strict."""
QUANTISED, STEPS = "quantised-lipschitz", "quantised-step"
"""What is proven of a network that rounds: the factor of |x - y|, and what is added to that."""

PASS, OVER_BUDGET, USAGE, LEFT_OPEN, UNSAFE, INTERNAL, CTRL_C = 0, 1, 2, 3, 4, 70, 130
PRECEDENCE = (CTRL_C, INTERNAL, UNSAFE, USAGE, OVER_BUDGET, LEFT_OPEN, PASS)
"""The exit code if several apply: errors before findings, what is proven before what is not known."""
CODES = {MISTAKEN: USAGE, FAILED: OVER_BUDGET, INCOMPLETE: LEFT_OPEN, PASSED: PASS}
"""By how a verdict ends."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A line of a file that users wrote.

    Attributes:
        path: as they gave it.
        line: from 1.
    """

    path: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that a reader or a gate should act on, tied to a layer or node.

    Attributes:
        rule: its kind, such as "unsupported-layer".
        severity: `ERROR`, `WARNING` or `NOTE`.
        message: in one line.
        node: the layer or node; empty for the whole network or file.
        measured, limit: the certified upper end, and what it must not exceed; None where no budget is meant.
        place: the line of the budget; None likewise.
    """

    rule: str
    severity: str
    node: str
    message: str
    measured: float | None = None
    limit: float | None = None
    place: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One limit of a budget on one layer, on the network or on a pair of its tensors, and what became of it.

    Attributes:
        node: the layer; empty for the whole network.
        limit: what the certified upper end must not exceed; of a baseline the largest that this may be.
        enclosure: what is proven of the norm or Lipschitz constant; None where nothing is.
        outcome: `PASSED` (its upper end keeps the limit, or the layer is still what it was), `EXCEEDED` (its
            lower end does not; of a network, which has none, its upper end, and refining did not help),
            `UNDECIDED` (the limit lies between both, likewise, or there are no figures of equal effort to
            compare), `MISSING` (there is no bound), or `IGNORED` (an ignore that has not expired covers it).
        reason: why it is ignored, undecided or missing; empty else.
        place: where the budget says so.
        limit_lower: the least that a baseline's limit may be, which its norms tell only within intervals;
            None where `limit` is all there is to know.
        start, end: the tensors of a limit on the network from one to the other; empty for all of it.
        quantity: of a limit on what is proven of the network where it is quantised: `QUANTISED` for the
            factor of |x - y|, `STEPS` for what is added to that; empty for a norm or Lipschitz constant.
    """

    node: str
    limit: float
    enclosure: Interval | None = None
    outcome: str
    reason: str = ""
    place: Place | None = None
    limit_lower: float | None = None
    start: str = ""
    end: str = ""
    quantity: str = ""

    @property
    def aside(self) -> bool:
        """Whether it is about something else than the norm of a layer or the constant of the network."""
        return bool(self.start or self.quantity)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All gates of a budget on one model, in the layers' order, the network's first.

    Attributes:
        budget: path of the configuration, or of the baseline.
        gates: one for each limit that applies.
    """

    budget: str
    gates: tuple[Gate, ...]


def conclusion(verdict: Verdict | None, findings: Iterable[Finding]) -> str:
    """How it ends, whatever the format: the first that applies.

    `MISTAKEN` where the budget cannot be meant so, `FAILED` where a limit is exceeded or a strict baseline
    has other layers, `INCOMPLETE` where something is left open, and `PASSED`.
    """
    outcomes = {gate.outcome for gate in verdict.gates} if verdict else set()
    told = {(finding.rule, finding.severity) for finding in findings}
    rules = {rule for rule, _ in told}
    if (UNUSED, ERROR) in told:
        return MISTAKEN
    if EXCEEDED in outcomes or any((rule, ERROR) in told for rule in CHANGES):
        return FAILED
    left_open = outcomes & {UNDECIDED, MISSING} or rules.intersection(UNSETTLED)
    return INCOMPLETE if left_open else PASSED


def exit_code(report: Report, *, exit_zero: bool = False) -> int:
    """The exit code of a whole run.

    Args:
        report: what the run found.
        exit_zero: whether findings alone are 0; errors are what they are.
    """
    ends = (
        CTRL_C if audit.status == INTERRUPTED else CODES[conclusion(audit.verdict, audit.findings)]
        for audit in report.audits
    )
    code = worst([*(failure.exit_code for failure in report.failures), *ends])
    return PASS if exit_zero and code in (OVER_BUDGET, LEFT_OPEN) else code


def worst(codes: Iterable[int]) -> int:
    """The first in `PRECEDENCE`; `PASS` for none."""
    return min(codes, key=PRECEDENCE.index, default=PASS)
