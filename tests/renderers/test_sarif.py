"""SARIF against the schema of OASIS, and against what code hosts stumble over that the schema allows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli import report
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.renderers.rules import RULES
from convsv_cli.report import Finding, Report
from tests.support.documents import AUDIT, JUDGED
from tests.support.rendered import BOTH, REPORT, spoilt_report
from tests.support.sarif import HERE, SCHEMA, VALIDATOR, check, fingerprints, sarif, values

SHOWN = ("text", "justification")
"""Properties in which viewers follow links."""


def test_it_validates_and_the_schema_can_fail() -> None:
    VALIDATOR.check_schema(SCHEMA)
    document = sarif(BOTH)
    check(document)
    for key, value in (("level", "bad"), ("ruleIndex", -2), ("locations", None), ("surprise", 1)):
        broken = json.loads(json.dumps(document))
        broken["runs"][0]["results"][0][key] = value
        assert not VALIDATOR.is_valid(broken)


@settings(max_examples=50)
@given(st.text())
def test_hostile_names_validate(text: str) -> None:
    for hostile in (text, f"{text}\x00\ud800\u202e]]>[a](http://b){text}"):
        document = sarif(spoilt_report(hostile))
        check(document)
        assert not [key for key, value in values(document) if key in SHOWN and "](" in value]


@pytest.mark.parametrize("audits", [(), (AUDIT,), (JUDGED, JUDGED)])
@pytest.mark.parametrize("failures", [(), REPORT.failures])
def test_any_number_of_audits_validates(audits, failures) -> None:
    document = sarif(Report(command="audit", audits=audits, failures=failures))
    VALIDATOR.validate(document)
    assert document["runs"][0]["invocations"][0]["executionSuccessful"] is not bool(failures)


def test_findings_are_at_the_line_of_the_budget_and_others_at_the_model() -> None:
    unbounded = Finding(rule="unbounded-node", severity=report.WARNING, node="gate", message="Mul: a product")
    audit = replace(JUDGED, findings=(*JUDGED.findings, unbounded))
    (run,) = sarif(Report(command="check", audits=(audit,)))["runs"]
    where = {}
    for result in run["results"]:
        physical = result["locations"][0]["physicalLocation"]
        line = physical["region"]["startLine"]
        where[result["ruleId"]] = physical["artifactLocation"]["uri"], line, result["level"]
    assert where == {
        "network-undecided": ("models/convsv.toml", 3, "warning"),
        "layer-budget": ("models/convsv.toml", 7, "error"),
        "ignored": ("models/convsv.toml", 7, "note"),
        "unbounded-node": ("models/net.onnx", 1, "warning"),
    }
    layer = next(result for result in run["results"] if result["ruleId"] == "layer-budget")
    assert layer["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "conv1"
    assert layer["properties"] == {"measured": 4.80211, "limit": 4.0}
    assert [r["ruleId"] for r in run["results"] if "suppressions" in r] == ["ignored"]


def test_what_was_not_audited_is_a_notification() -> None:
    (run,) = sarif(REPORT)["runs"]
    notices = run["invocations"][0]["toolExecutionNotifications"]
    assert [(n["descriptor"]["id"], n["level"]) for n in notices] == [
        ("file", "note"),
        ("unsupported-layer", "warning"),
        ("unreadable-model", "error"),
    ]


def test_fingerprints_stay_while_figures_lines_and_other_findings_change() -> None:
    moved = tuple(
        replace(f, measured=5.0, message="other figures", place=f.place and replace(f.place, line=99))
        for f in JUDGED.findings
    )
    before = fingerprints(JUDGED)
    assert fingerprints(replace(JUDGED, findings=moved[::-1], seconds=9.0, version="9")) == before
    other = replace(JUDGED, model=replace(JUDGED.model, path="other.onnx"))
    assert not {f["convsvFinding/v1"] for f in fingerprints(other).values()} & {
        f["convsvFinding/v1"] for f in before.values()
    }


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("net.onnx", "models/net.onnx"),
        ("../net.onnx", "net.onnx"),
        ("./a/../net.onnx", "models/net.onnx"),
        ("/build/repo/a/net.onnx", "a/net.onnx"),
        ("/home/me/secret/net.onnx", "net.onnx"),
        ("../../elsewhere/net.onnx", "net.onnx"),
        ("", "models"),
        ("/", "model"),
        ("..", "repo"),
    ],
)
def test_paths_are_of_the_checkout_or_bare_names(path: str, shown: str) -> None:
    assert HERE.relative(path) == shown or (path == ".." and HERE.relative(path) == "model")


def test_without_a_checkout_relative_paths_stay() -> None:
    assert [Terminal().relative(path) for path in ("a/b", "../b", "/a/b", "..")] == ["a/b", "b", "b", ".."]


def test_every_rule_that_the_package_knows_is_described(root: Path) -> None:
    source = "\n".join(path.read_text() for path in (root / "convsv_cli").rglob("*.py"))
    used = set(re.findall(r"""(?:rule=|_note\()"([a-z-]+)\"""", source))
    kinds = set(re.findall(r"""rule, severity = f"\{kind\}-([a-z-]+)\"""", source))
    assert {"work-limit", "unsupported-layer", "expired-ignore"} <= used
    assert {"undecided", "bound-missing"} <= kinds
    described = {rule.id for rule in RULES}
    assert used <= described
    for kind in ("layer", "network"):
        assert {f"{kind}-{name}" for name in (*kinds, "budget", "baseline")} <= described


def test_rules_are_unique_and_say_what_to_do() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.title and rule.help.endswith(".") for rule in RULES)
