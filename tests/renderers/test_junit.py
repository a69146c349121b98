"""JUnit XML against the schema that Jenkins validates with, and what its cases say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from convsv_cli import report
from convsv_cli.names import printable
from convsv_cli.renderers.junit import RENDERER
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Gate, Report, Verdict
from tests.support.documents import AUDIT, AUDITED, JUDGED, SKIPPED
from tests.support.rendered import BOTH, REPORT, spoilt_report

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parents[1] / "support" / "schemas" / "junit-10.xsd"))


def junit(document: Report):
    """The parsed document, which is valid."""
    root = etree.fromstring(RENDERER.render(document, Terminal()).encode())
    SCHEMA.assertValid(root)
    for element in (root, *root.iter("testsuite")):
        cases = list(element.iter("testcase"))
        assert int(element.get("tests")) == len(cases)
        for counted, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            found = sum(case.find(kind) is not None for case in cases)
            assert element.get(counted) in (str(found), None)
    return root


def outcomes(root) -> dict[str, str]:
    return {case.get("name"): case[0].tag if len(case) else "" for case in root.iter("testcase")}


def test_the_schema_can_fail() -> None:
    root = junit(BOTH)
    del next(root.iter("testcase")).attrib["name"]
    assert not SCHEMA.validate(root)


@settings(max_examples=50)
@given(st.text())
def test_hostile_names_are_valid_and_inert(text: str) -> None:
    for hostile in (text, f"{text}]]>\x00\x1b\ud800\ufffe\u202e&<a/>\"'{text}"):
        root = junit(spoilt_report(hostile))
        names = {case.get("name") for case in root.iter("testcase")}
        assert printable(hostile) in names
        RENDERER.render(spoilt_report(hostile), Terminal()).encode("ascii")


def test_a_failure_is_a_budget_an_error_is_unreadable_and_skipped_is_unsupported() -> None:
    assert outcomes(junit(REPORT)) == {
        "network": "failure",
        "conv1": "failure",
        "embed": "failure",
        "read": "error",
    }
    assert outcomes(junit(Report(command="audit", audits=(AUDIT,)))) == {"conv1": "", "embed": "skipped"}
    invalid = replace(SKIPPED, status=report.INVALID, reason="NaN")
    assert outcomes(junit(Report(command="audit", audits=(replace(AUDIT, layers=(invalid,)),)))) == {
        "embed": "error"
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((report.PASSED,), ""),
        ((report.IGNORED,), "skipped"),
        ((report.IGNORED, report.PASSED), ""),
        ((report.PASSED, report.EXCEEDED), "failure"),
        ((report.UNDECIDED,), "failure"),
        ((report.MISSING,), "failure"),
    ],
)
def test_each_outcome_of_gates(found: tuple[str, ...], expected: str) -> None:
    gates = tuple(Gate(node="conv1", limit=1.0, outcome=outcome, reason="so") for outcome in found)
    audit = replace(JUDGED, layers=(AUDITED,), verdict=Verdict(budget="b", gates=gates))
    assert outcomes(junit(Report(command="check", audits=(audit,)))) == {"conv1": expected}


def test_a_gate_on_a_layer_that_is_gone_has_a_case() -> None:
    gates = (Gate(node="gone", limit=1.0, outcome=report.MISSING, reason="only in the baseline"),)
    audit = replace(AUDIT, verdict=Verdict(budget="b", gates=gates))
    assert outcomes(junit(Report(command="check", audits=(audit,))))["gone"] == "failure"
