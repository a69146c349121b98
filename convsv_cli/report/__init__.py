"""The result of a command: plain frozen values, no arrays, nothing that knows a file or a format."""

from __future__ import annotations

from convsv_cli.report.document import Audit, Failure, Report
from convsv_cli.report.layer import AUDITED, INVALID, UNSUPPORTED, LayerAudit
from convsv_cli.report.measurement import (
    CERTIFIED,
    ESTIMATE,
    EXACT,
    PADDED,
    UPPER,
    Interval,
    Measurement,
    Method,
)
from convsv_cli.report.network import (
    BOUNDED,
    UNBOUNDED,
    UNKNOWN,
    Block,
    Empirical,
    NetworkBound,
    NetworkTotals,
    Obstacle,
    Part,
)
from convsv_cli.report.request import TOLERANCE, WORK_LIMIT, Model, Settings
from convsv_cli.report.spectrum import Distribution, Spectrum
from convsv_cli.report.verdict import (
    ERROR,
    EXCEEDED,
    IGNORED,
    MISSING,
    NOTE,
    PASSED,
    UNDECIDED,
    WARNING,
    Finding,
    Gate,
    Place,
    Verdict,
)

__all__ = [
    "AUDITED",
    "BOUNDED",
    "CERTIFIED",
    "ERROR",
    "ESTIMATE",
    "EXACT",
    "EXCEEDED",
    "IGNORED",
    "INVALID",
    "MISSING",
    "NOTE",
    "PADDED",
    "PASSED",
    "TOLERANCE",
    "UNBOUNDED",
    "UNDECIDED",
    "UNKNOWN",
    "UNSUPPORTED",
    "UPPER",
    "WARNING",
    "WORK_LIMIT",
    "Audit",
    "Block",
    "Distribution",
    "Empirical",
    "Failure",
    "Finding",
    "Gate",
    "Interval",
    "LayerAudit",
    "Measurement",
    "Method",
    "Model",
    "NetworkBound",
    "NetworkTotals",
    "Obstacle",
    "Part",
    "Place",
    "Report",
    "Settings",
    "Spectrum",
    "Verdict",
]
