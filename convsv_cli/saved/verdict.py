"""Findings of a saved audit, and what a budget made of it."""

from __future__ import annotations

from convsv_cli.report import (
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
from convsv_cli.saved.layer import interval_of
from convsv_cli.saved.value import Value

OUTCOMES = (PASSED, EXCEEDED, UNDECIDED, MISSING, IGNORED)


def finding_of(value: Value) -> Finding:
    """One finding."""
    return Finding(
        rule=value["rule"].text(),
        severity=value["severity"].choice((ERROR, WARNING, NOTE)),
        node=value["node"].text(""),
        message=value["message"].text(),
        measured=value["measured"].norm() if value["measured"].present else None,
        limit=value["limit"].norm() if value["limit"].present else None,
        place=_place(value["place"]),
    )


def verdict_of(value: Value) -> Verdict | None:
    """All gates; None where no budget was asked for."""
    if not value.present:
        return None
    return Verdict(budget=value["budget"].text(), gates=tuple(map(_gate, value["gates"].items())))


def _gate(value: Value) -> Gate:
    return Gate(
        node=value["node"].text(""),
        limit=value["limit"].norm(),
        enclosure=interval_of(value["enclosure"]) if value["enclosure"].present else None,
        outcome=value["outcome"].choice(OUTCOMES),
        reason=value["reason"].text(""),
        place=_place(value["place"]),
        limit_lower=value["limit_lower"].norm() if value["limit_lower"].present else None,
    )


def _place(value: Value) -> Place | None:
    return Place(path=value["path"].text(), line=value["line"].integer()) if value.present else None
