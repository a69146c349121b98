"""SARIF 2.1.0 for code scanning: findings at the line of the budget, or at the model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from convsv_cli.names import printable
from convsv_cli.remote import is_remote
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.rules import UNREADABLE, Rule, fingerprinted, rule_of
from convsv_cli.report import ERROR, INTERRUPTED, Audit, Failure, Finding, Model, Report
from convsv_cli.version import __version__

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ABOUT = "https://arxiv.org/abs/1911.10258"
IGNORED = "ignored"


def render(report: Report, terminal: Terminal) -> str:
    """One run. Files outside the checkout are named without their folder, and nothing is null."""
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report, terminal)]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _run(report: Report, terminal: Terminal) -> dict[str, Any]:
    found = [(audit, finding) for audit in report.audits for finding in audit.findings]
    rules = {finding.rule: rule_of(finding.rule) for _, finding in found}
    ours = [rule for rule in rules.values() if not rule.notice]
    notices = [*(rule for rule in rules.values() if rule.notice), *([UNREADABLE] if report.failures else [])]
    places = {rule.id: index for index, rule in enumerate(ours)}
    noticed = {rule.id: index for index, rule in enumerate(notices)}
    versions = {audit.version for audit in report.audits}
    return {
        "tool": {
            "driver": {
                "name": "convsv",
                "version": printable(versions.pop()) if len(versions) == 1 else __version__,
                "informationUri": ABOUT,
                "rules": [_descriptor(rule) for rule in ours],
                "notifications": [_descriptor(rule) for rule in notices],
            }
        },
        "automationDetails": {"id": f"convsv/{printable(report.command)}/"},
        "invocations": [
            {
                "executionSuccessful": not report.failures and not _interrupted(report),
                "toolExecutionNotifications": [
                    *(_notice(a, f, noticed, terminal) for a, f in found if rules[f.rule].notice),
                    *(_failure(failure, noticed, terminal) for failure in report.failures),
                ],
            }
        ],
        "artifacts": _artifacts(report, terminal),
        "columnKind": "unicodeCodePoints",
        "results": _results([(a, f) for a, f in found if not rules[f.rule].notice], places, terminal),
    }


def _interrupted(report: Report) -> bool:
    return any(audit.status == INTERRUPTED for audit in report.audits)


def _descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": _plain(rule.id),
        "shortDescription": {"text": _plain(rule.title)},
        "help": {"text": _plain(rule.help)},
        "helpUri": ABOUT,
    }


def _results(
    found: list[tuple[Audit, Finding]], indices: Mapping[str, int], terminal: Terminal
) -> list[dict[str, Any]]:
    return [
        _result(audit, finding, indices, terminal, fingerprint)
        for audit, finding, fingerprint in fingerprinted(found, terminal.relative)
    ]


def _result(
    audit: Audit, finding: Finding, indices: Mapping[str, int], terminal: Terminal, fingerprint: str
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": _plain(finding.rule),
        "ruleIndex": indices[finding.rule],
        "level": finding.severity,
        "message": {"text": _text(audit, finding, terminal)},
        "locations": [_location(audit, finding, terminal)],
        "partialFingerprints": {
            "primaryLocationLineHash": f"{fingerprint[:16]}:1",
            "convsvFinding/v1": fingerprint,
        },
    }
    if finding.rule == IGNORED:
        result["suppressions"] = [{"kind": "external", "justification": _plain(finding.message)}]
    figures = {"measured": finding.measured, "limit": finding.limit}
    finite = {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}
    return {**result, "properties": finite} if finite else result


def _notice(audit: Audit, finding: Finding, indices: Mapping[str, int], terminal: Terminal) -> dict[str, Any]:
    return {
        "descriptor": _reference(finding.rule, indices),
        "level": finding.severity,
        "message": {"text": _text(audit, finding, terminal)},
        "locations": [_location(audit, finding, terminal)],
    }


def _failure(failure: Failure, indices: Mapping[str, int], terminal: Terminal) -> dict[str, Any]:
    return {
        "descriptor": _reference(UNREADABLE.id, indices),
        "level": ERROR,
        "message": {"text": _plain(failure.message)},
        "locations": [_physical(failure.path, 1, terminal)],
    }


def _reference(rule: str, indices: Mapping[str, int]) -> dict[str, Any]:
    return {"id": _plain(rule), "index": indices[rule]}


def _location(audit: Audit, finding: Finding, terminal: Terminal) -> dict[str, Any]:
    """The line of the budget; of the model, which has no lines, the first."""
    place = finding.place
    location = (
        _physical(audit.model.path, 1, terminal)
        if place is None
        else _physical(place.path, place.line, terminal)
    )
    if not finding.node:
        return location
    name = printable(finding.node)
    return {**location, "logicalLocations": [{"fullyQualifiedName": name, "kind": "module"}]}


def _physical(path: str, line: int, terminal: Terminal) -> dict[str, Any]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(path, terminal)},
            "region": {"startLine": max(1, line)},
        }
    }


def _uri(path: str, terminal: Terminal) -> str:
    """The path in the checkout, as a relative reference of RFC 3986; an address as it is."""
    if is_remote(path):
        return quote(path, safe="/:@[]", errors="surrogatepass")
    return quote(terminal.relative(path), safe="/", errors="surrogatepass")


def _artifacts(report: Report, terminal: Terminal) -> list[dict[str, Any]]:
    """Each model once, with the digest of its own file."""
    models = {(_uri(a.model.path, terminal), printable(_own(a.model))): None for a in report.audits}
    return [
        {
            "location": {"uri": uri},
            "roles": ["analysisTarget"],
            **({"hashes": {"sha-256": digest}} if digest else {}),
        }
        for uri, digest in models
    ]


def _own(model: Model) -> str:
    return model.files_sha256[0] if model.files_sha256 else model.sha256


def _text(audit: Audit, finding: Finding, terminal: Terminal) -> str:
    """What was found, and where: the location itself may be a line of a budget."""
    model = terminal.relative(audit.model.path)
    return _plain(": ".join(filter(None, (model, finding.node, finding.message))))


def _plain(text: str) -> str:
    """Printable, and without what viewers take for a link."""
    return printable(text).replace("](", "] (")


RENDERER = Renderer(name="sarif", suffixes=(".sarif",), render=render)
