"""Layers that are new, gone or renamed beside a baseline: said in every format, errors where it is strict."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch

from convsv_cli.budget import judged
from convsv_cli.comparison import difference
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.comparison import DIFFERENCES
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Audit, Report
from convsv_cli.report.verdict import exit_code as code_of
from tests.support.budget_models import exit_code, scaled
from tests.support.gates import row
from tests.support.ratchets import bounded, ratchet

pytestmark = pytest.mark.usefixtures("capsys")  # the command in this process takes stdout over
TWIN = {"weight_sha256": "1" * 64}
OLD = bounded(
    1, row("a", 1, 1), row("was", 1, 1, **TWIN), row("guess", 1, 1), row("gone", 1, 1, kernel_shape=(7, 3))
)
NEW = bounded(
    1, row("a", 1, 1), row("now", 1, 1, **TWIN), row("other", 1, 1), row("fresh", 1, 1, kernel_shape=(3, 8))
)
SAID = {
    "fresh": "not in the baseline",
    "gone": "only in the baseline",
    "now": "'was' in the baseline, recognised by its weight",
    "other": "'guess' in the baseline, matched by shape and order alone",
}


def compared(*, strict: bool) -> Audit:
    return judged(ratchet(OLD, strict=strict), NEW)


@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda renderer: renderer.name)
@pytest.mark.parametrize("strict", [False, True])
def test_every_format_names_them(renderer, strict: bool) -> None:
    text = renderer.render(Report(command="check", audits=(compared(strict=strict),)), Terminal())
    plain = re.sub(r"&#39;|&apos;|&#x27;", "'", text)
    for name, message in SAID.items():
        assert any(name in line for line in plain.splitlines())
        assert message in plain, name


@pytest.mark.parametrize("renderer", DIFFERENCES, ids=lambda renderer: renderer.name)
def test_every_format_of_a_difference_names_them(renderer) -> None:
    text = renderer.render(difference(OLD, NEW), Terminal())
    for word in ("added", "removed", "shape and order", "fresh", "gone", "was"):
        assert word in text
    if renderer.name == "json":
        found = {c["layer"]: (c["before"], c["matched"]) for c in json.loads(text)["changes"]}
        assert found["other"] == ("guess", "shape and order")
        assert found["now"] == ("was", "weight")
        assert found["a"] == ("a", "name")
        assert found["fresh"] == (None, None)


def rendered(name: str, *, strict: bool) -> str:
    renderer = next(renderer for renderer in RENDERERS if renderer.name == name)
    return renderer.render(Report(command="check", audits=(compared(strict=strict),)), Terminal())


def test_rows_of_csv_and_cases_of_junit_are_there_for_layers_that_are_gone() -> None:
    lines = csv.DictReader(io.StringIO(rendered("csv", strict=False)))
    rows = {line["name"]: line["baseline"] for line in lines if line["kind"] == "layer"}
    assert rows == {"a": "", **{name: spelled(text) for name, text in SAID.items()}}
    for strict in (False, True):
        suite = ET.fromstring(rendered("junit", strict=strict)).find("testsuite")
        failed = {case.get("name") for case in suite if case.find("failure") is not None}
        assert failed == ({"fresh", "gone"} if strict else set())
        assert {case.get("name"): case.findtext("system-out", "").partition(": ")[2] for case in suite} == {
            "network": "", "a": "", **SAID
        }  # fmt: skip


def spelled(text: str) -> str:
    """As a cell that no spreadsheet takes for a formula or for text in quotes."""
    from convsv_cli.names import spreadsheet_cell

    return spreadsheet_cell(text)


def test_annotations_and_results_have_the_level_of_a_strict_baseline() -> None:
    for strict, kind, level in ((False, "notice", "note"), (True, "error", "error")):
        lines = rendered("github", strict=strict).splitlines()
        assert sum(line.startswith(f"::{kind} file=main.json,line=1,title=convsv ") for line in lines) == (
            2 if strict else 4
        )
        results = json.loads(rendered("sarif", strict=strict))["runs"][0]["results"]
        found = {result["ruleId"]: result["level"] for result in results}
        assert found == {"added-layer": level, "removed-layer": level, "renamed-layer": "note"}


def test_only_a_strict_baseline_fails_of_them() -> None:
    reports = [Report(command="check", audits=(compared(strict=strict),)) for strict in (False, True)]
    assert [code_of(report) for report in reports] == [0, 1]
    for name in ("table", "markdown", "github"):
        assert "failed: 4 passed, 1 layer added, 1 layer removed" in rendered(name, strict=True), name
        assert "passed: 4 passed, 1 layer added, 1 layer removed" in rendered(name, strict=False), name
    assert "Layers differ from the baseline" in rendered("html", strict=True)
    assert "Within budget" in rendered("html", strict=False)
    same = judged(ratchet(OLD, strict=True), replace(OLD))
    assert code_of(Report(command="check", audits=(same,))) == 0
    renamed = bounded(1, *(replace(layer, name=f"module.{layer.name}") for layer in OLD.layers))
    assert code_of(Report(command="check", audits=(judged(ratchet(OLD, strict=True), renamed),))) == 0


def test_the_strict_mode_on_the_command_line(tmp_path: Path, monkeypatch, capsys) -> None:
    old, new = scaled(tmp_path, 2, name="old.onnx"), tmp_path / "new.onnx"
    scaled(tmp_path, 2, 0.5, name="new.onnx")
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "audit", old, "-o", "main.json") == 0
    assert exit_code(monkeypatch, "check", new, "--baseline", "main.json") == 0
    assert exit_code(monkeypatch, "check", new, "--baseline", "main.json", "--baseline-strict") == 1
    assert exit_code(monkeypatch, "check", old, "--baseline", "main.json", "--baseline-strict") == 0
    (tmp_path / "convsv.toml").write_text('[[ignore]]\nmatch = "fc1"\nreason = "new, and known"\n')
    assert exit_code(monkeypatch, "check", new, "--baseline", "main.json", "--baseline-strict") == 0
    capsys.readouterr()
    assert exit_code(monkeypatch, "check", new, "--baseline-strict") == 2
    assert "--baseline-strict needs a --baseline" in capsys.readouterr().err


def test_a_lost_layer_fails_a_strict_baseline(tmp_path: Path, monkeypatch) -> None:
    state = {"a.weight": torch.ones(3, 3), "b.weight": torch.ones(2, 3)}
    torch.save(state, tmp_path / "old.pt")
    torch.save({"a.weight": state["a.weight"]}, tmp_path / "new.pt")
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "audit", "old.pt", "-o", "main.json") == 0
    assert exit_code(monkeypatch, "check", "new.pt", "--baseline", "main.json") == 0
    assert exit_code(monkeypatch, "check", "new.pt", "--baseline", "main.json", "--baseline-strict") == 1
