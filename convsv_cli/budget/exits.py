"""What a command exits with: a function of what it found, never of the format."""

from __future__ import annotations

from collections.abc import Iterable

from convsv_cli.report import FAILED, INCOMPLETE, MISTAKEN, PASSED, Audit, Report, conclusion

PASS, OVER_BUDGET, USAGE, LEFT_OPEN, UNSAFE, INTERNAL = 0, 1, 2, 3, 4, 70
PRECEDENCE = (INTERNAL, UNSAFE, USAGE, OVER_BUDGET, LEFT_OPEN, PASS)
"""What is said where several apply: errors before findings, what is proven before what is not known."""
CODES = {MISTAKEN: USAGE, FAILED: OVER_BUDGET, INCOMPLETE: LEFT_OPEN, PASSED: PASS}
"""Of each way that a verdict may end."""


def exit_code(report: Report, *, exit_zero: bool = False) -> int:
    """The code of a whole run; with `exit_zero`, findings alone are 0, and errors are what they are."""
    code = worst([*(f.exit_code for f in report.failures), *map(_audit_code, report.audits)])
    return PASS if exit_zero and code in (OVER_BUDGET, LEFT_OPEN) else code


def worst(codes: Iterable[int]) -> int:
    """The first in `PRECEDENCE`; `PASS` for none."""
    return min(codes, key=PRECEDENCE.index, default=PASS)


def _audit_code(audit: Audit) -> int:
    return CODES[conclusion(audit.verdict, audit.findings)]
