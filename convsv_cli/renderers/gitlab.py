"""Code Quality of GitLab: what a merge request makes worse or better, at the line of the budget.

Source: GitLab's documentation, "Code Quality", section "Code Quality report format".
"""

from __future__ import annotations

import json
from typing import Any

from convsv_cli.names import inert
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.rules import UNREADABLE, digest, fingerprinted
from convsv_cli.report import CHANGES, ERROR, NOTE, WARNING, Failure, Finding, Place, Report

SEVERITIES = {ERROR: "major", WARNING: "minor", NOTE: "info"}
FAILED = "critical"
"""Nothing is known of the model."""


def render(report: Report, terminal: Terminal) -> str:
    """A list of errors, warnings and differences from a baseline; empty where there is nothing to act on.

    GitLab compares the fingerprints of two branches: they stay while figures and lines change.
    """
    report = inert(report)
    found = [(audit, finding) for audit in report.audits for finding in audit.findings if _tells(finding)]
    issues = [_failure(failure, terminal) for failure in report.failures]
    for audit, finding, fingerprint in fingerprinted(found, terminal.relative):
        place = finding.place or Place(path=audit.model.path, line=1)
        said = (terminal.relative(audit.model.path), finding.node, finding.message)
        issues.append(
            {
                "description": ": ".join(filter(None, said)),
                "check_name": finding.rule,
                "fingerprint": fingerprint,
                "severity": SEVERITIES.get(finding.severity, SEVERITIES[NOTE]),
                "location": _location(place, terminal),
            }
        )
    return json.dumps(issues, indent=2) + "\n"


def _tells(finding: Finding) -> bool:
    return finding.severity != NOTE or finding.rule in CHANGES


def _failure(failure: Failure, terminal: Terminal) -> dict[str, Any]:
    return {
        "description": failure.message or UNREADABLE.title,
        "check_name": UNREADABLE.id,
        "fingerprint": digest(UNREADABLE.id, terminal.relative(failure.path)),
        "severity": FAILED,
        "location": _location(Place(path=failure.path, line=1), terminal),
    }


def _location(place: Place, terminal: Terminal) -> dict[str, Any]:
    return {"path": terminal.relative(place.path), "lines": {"begin": max(1, place.line)}}


RENDERER = Renderer(
    name="gitlab", suffixes=("gl-code-quality-report.json", ".codequality.json"), render=render
)
