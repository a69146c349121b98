"""What a command exits with: a function of what it found, never of the format."""

from __future__ import annotations

from collections.abc import Iterable

from convsv_cli.report import EXCEEDED, MISSING, NOT_AUDITED, UNDECIDED, Audit, Report

PASS, OVER_BUDGET, USAGE, INCOMPLETE, UNSAFE, INTERNAL = 0, 1, 2, 3, 4, 70
PRECEDENCE = (INTERNAL, UNSAFE, USAGE, OVER_BUDGET, INCOMPLETE, PASS)
"""What is said where several apply: errors before findings, what is proven before what is not known."""


def exit_code(report: Report, *, exit_zero: bool = False) -> int:
    """The code of a whole run; with `exit_zero`, findings alone are 0, and errors are what they are."""
    code = worst([*(f.exit_code for f in report.failures), *map(_audit_code, report.audits)])
    return PASS if exit_zero and code in (OVER_BUDGET, INCOMPLETE) else code


def worst(codes: Iterable[int]) -> int:
    """The first in `PRECEDENCE`; `PASS` for none."""
    return min(codes, key=PRECEDENCE.index, default=PASS)


def _audit_code(audit: Audit) -> int:
    outcomes = {gate.outcome for gate in audit.verdict.gates} if audit.verdict else set()
    if EXCEEDED in outcomes:
        return OVER_BUDGET
    incomplete = any(finding.rule in NOT_AUDITED for finding in audit.findings)
    return INCOMPLETE if incomplete or outcomes & {UNDECIDED, MISSING} else PASS
