"""Golden reports, and what formats make of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Report
from tests.support.documents import AUDIT, FAILURE, JUDGED

REPORT = Report(command="check", audits=(JUDGED,), failures=(FAILURE,))


BOTH = Report(command="check", audits=(JUDGED, AUDIT), failures=(FAILURE,))


METHODS = AUDIT.methods


WORDS = ("status", "severity", "outcome", "kind", "padding_mode", "command")
"""Fields that convsv itself fills, from a short list of words."""


def spoiled(value: Any, text: str, field: str = "") -> Any:
    """The value with hostile text in place of every name, reason and path in it."""
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        changed = {name: spoiled(getattr(value, name), text, name) for name in names}
        return dataclasses.replace(value, **changed)
    if isinstance(value, tuple) and field in ("measurements", "product"):
        return tuple((name, spoiled(inner, text)) for name, inner in value)
    if isinstance(value, tuple):
        return tuple(spoiled(inner, text) for inner in value)
    return text if isinstance(value, str) and field not in WORDS else value


def spoilt_report(text: str) -> Report:
    report = spoiled(BOTH, text)
    methods = [dataclasses.replace(m, proves=text, column=m.column and text + m.column) for m in METHODS]
    audits = [dataclasses.replace(audit, methods=tuple(methods)) for audit in report.audits]
    return dataclasses.replace(report, audits=tuple(audits))


def rendered(name: str, report: Report = REPORT) -> str:
    return next(r for r in RENDERERS if r.name == name).render(report, Terminal())
