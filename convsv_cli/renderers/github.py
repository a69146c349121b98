"""Annotations of GitHub Actions: a line for each error and warning."""

from __future__ import annotations

from convsv_cli.names import inert
from convsv_cli.renderers.audit_text import covered
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.verdict_text import headline
from convsv_cli.report import CHANGES, ERROR, NOTE, Audit, Finding, Place, Report

NOTICE = "notice"
DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
PROPERTY = {**DATA, ":": "%3A", ",": "%2C"}


def render(report: Report, terminal: Terminal) -> str:
    """Errors, warnings and differences from a baseline, then a notice for each audit.

    The step summary has the other notes. Texts from files are made inert here, and only here; the commands'
    own escapes come on top of that.
    """
    report = inert(report)
    lines = [
        _command(ERROR, Place(path=failure.path, line=1), "unreadable-model", failure.message, terminal)
        for failure in report.failures
    ]
    for audit in report.audits:
        shown = [f for f in audit.findings if f.severity != NOTE or f.rule in CHANGES]
        lines += [_annotation(audit, finding, terminal) for finding in shown]
    lines += [_notice(audit, terminal) for audit in report.audits]
    return "".join(f"{line}\n" for line in lines)


def _annotation(audit: Audit, finding: Finding, terminal: Terminal) -> str:
    place = finding.place or Place(path=audit.model.path, line=1)
    message = ": ".join(filter(None, (audit.model.path, finding.node, finding.message)))
    kind = NOTICE if finding.severity == NOTE else finding.severity
    return _command(kind, place, finding.rule, message, terminal)


def _notice(audit: Audit, terminal: Terminal) -> str:
    path = audit.model.path
    budget = f"; budget {headline(audit.verdict, audit.findings)}" if audit.verdict else ""
    return _command(NOTICE, Place(path=path, line=1), "audit", f"{path}: {covered(audit)}{budget}", terminal)


def _command(kind: str, place: Place, title: str, message: str, terminal: Terminal) -> str:
    """A workflow command; whatever the texts hold, it is this one command and this one line."""
    properties = {
        "file": terminal.relative(place.path),
        "line": str(max(1, place.line)),
        "title": f"convsv {title}",
    }
    shown = ",".join(f"{name}={_escaped(value, PROPERTY)}" for name, value in properties.items())
    return f"::{kind} {shown}::{_escaped(message, DATA)}"


def _escaped(text: str, marks: dict[str, str]) -> str:
    return text.translate({ord(mark): written for mark, written in marks.items()})


RENDERER = Renderer(name="github", suffixes=(), render=render)
