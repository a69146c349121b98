"""Code Quality of GitLab: what its documentation demands, and what its comparison of branches rests on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli.cli.output import prepare
from convsv_cli.errors import UsageError
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.gitlab import RENDERER
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import ERROR, NOTE, Finding, Place, Report
from tests.support.documents import AUDIT, FAILURE, JUDGED, LINE_7, of
from tests.support.rendered import BOTH, spoilt_report

SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "additionalProperties": False,
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string"},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^(?![./]*/)"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}
"""The table of "Code Quality report format" in GitLab's documentation: a path is relative, without `./`."""
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def issues(document: Report, terminal: Terminal | None = None) -> list[dict]:
    found = json.loads(RENDERER.render(document, terminal or Terminal()))
    VALIDATOR.validate(found)
    return found


def test_it_validates_and_the_schema_can_fail() -> None:
    found = issues(BOTH)
    assert len({each["fingerprint"] for each in found}) == len(found) == 5
    for key, value in (
        ("severity", "error"),
        ("fingerprint", ""),
        ("location", {"path": "./a", "lines": {}}),
    ):
        assert not VALIDATOR.is_valid([{**found[0], key: value}])
    assert issues(of()) == []


@settings(max_examples=10)
@given(st.text())
def test_hostile_names_validate(text: str) -> None:
    issues(spoilt_report(text))


def test_a_limit_is_at_its_line_of_the_budget_and_other_findings_at_the_model() -> None:
    found = {each["check_name"]: (each["severity"], each["location"]) for each in issues(BOTH)}
    assert found["layer-budget"] == ("major", {"path": "convsv.toml", "lines": {"begin": 7}})
    assert found["unsupported-layer"] == ("minor", {"path": "net.onnx", "lines": {"begin": 1}})
    assert found["unreadable-model"] == ("critical", {"path": FAILURE.path, "lines": {"begin": 1}})


def test_notes_are_left_out_but_for_what_differs_from_a_baseline() -> None:
    notes = [Finding(rule=rule, severity=NOTE, node="a", message="b") for rule in ("added-layer", "assumed")]
    (found,) = issues(of(replace(AUDIT, findings=tuple(notes))))
    assert (found["check_name"], found["severity"]) == ("added-layer", "info")


def test_fingerprints_stay_while_figures_lines_and_folders_change() -> None:
    """Else GitLab would call each finding new, and each old one fixed."""

    def fingerprints(message: str, line: int, here: str) -> list[str]:
        place = Place(path="convsv.toml", line=line)
        limits = [
            Finding(rule="layer-budget", severity=ERROR, node="a", message=message, place=place)
            for _ in range(2)
        ]
        found = issues(of(replace(AUDIT, findings=tuple(limits))), Terminal(here=here, root=here))
        return [each["fingerprint"] for each in found]

    first, second = fingerprints("its norm is 5", 7, "/builds/a")
    assert first != second
    assert fingerprints("its norm is 6", 9, "/builds/b") == [first, second]


def test_paths_are_of_the_checkout() -> None:
    terminal = Terminal(here="/builds/group/project/models", root="/builds/group/project")
    paths = {each["location"]["path"] for each in issues(of(JUDGED), terminal)}
    assert paths == {f"models/{LINE_7.path}", "models/net.onnx"}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("gl-code-quality-report.json", "gitlab"),
        ("convsv.codequality.json", "gitlab"),
        ("GL-code-quality-report.JSON", "gitlab"),
        ("convsv.json", "json"),
        ("codequality.json", "json"),
    ],
)
def test_its_files_are_known_by_their_ending(file: str, name: str, tmp_path: Path) -> None:
    (target,) = prepare(RENDERERS, [tmp_path / file], None, [])
    assert target.renderer.name == name


def test_a_format_that_no_file_would_have_is_an_error_that_says_how_to_call_it(tmp_path: Path) -> None:
    """GitLab says nothing of a report that it cannot read."""
    with pytest.raises(
        UsageError, match=r"implies the format json.*\*gl-code-quality-report.json or \*.code"
    ):
        prepare(RENDERERS, [tmp_path / "codequality.json"], "gitlab", [])
    with pytest.raises(UsageError, match=r"would be in github.*add -o -"):
        prepare(RENDERERS, [tmp_path / "out.txt"], "github", [])
    for outputs in ([tmp_path / "a.json", Path("-")], [tmp_path / "a.unknown", tmp_path / "a.json"]):
        assert "gitlab" in {each.renderer.name for each in prepare(RENDERERS, outputs, "gitlab", [])}
