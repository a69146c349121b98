"""Both sides of a comparison are bounded at the same effort; where they were not, it says so."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from convsv_cli import saved
from convsv_cli.comparison import difference
from convsv_cli.renderers.comparison import DIFFERENCES
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import EFFORTS, QUICK, THOROUGH
from tests.support.budget_models import exit_code, scaled
from tests.support.documents import AUDIT
from tests.support.gates import row
from tests.support.ratchets import bounded

pytestmark = pytest.mark.usefixtures("capsys")  # the command in this process takes stdout over


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.chdir(tmp_path)
    return scaled(tmp_path, 2, 3, name="old.onnx"), scaled(tmp_path, 2, 2.9, name="new.onnx")


def report_of(model: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Path:
    assert exit_code(monkeypatch, "audit", model, "-o", "main.json", *options) == 0
    return Path("main.json")


def without_search(report: Path) -> Path:
    """The report as it would have been before there was a search."""
    document = json.loads(report.read_text())
    (audit,) = document["audits"]
    del audit["settings"]["network_effort"], audit["network"]["effort"]
    for block in audit["network"]["blocks"]:
        del block["route"]
    report.write_text(json.dumps(document))
    return report


@pytest.mark.parametrize("effort", EFFORTS)
def test_a_check_is_made_with_the_effort_of_its_baseline(effort: str, models, monkeypatch) -> None:
    old, new = models
    baseline = report_of(old, monkeypatch, "--network-effort", effort)
    assert exit_code(monkeypatch, "check", new, "--baseline", baseline, "-o", "now.json") == 0
    audit = saved.read_one("now.json")
    assert audit.settings.network_effort == audit.bound.effort == effort


def test_the_command_line_then_the_budget_come_before_the_baseline(models, monkeypatch) -> None:
    old, new = models
    baseline = report_of(old, monkeypatch, "--network-effort", "normal")
    Path("convsv.toml").write_text('network-effort = "quick"\n')
    asked = ("check", new, "--baseline", baseline, "-o", "now.json")
    for options, effort in (((), QUICK), (("--network-effort", THOROUGH), THOROUGH)):
        assert exit_code(monkeypatch, *asked, *options) == 3
        audit = saved.read_one("now.json")
        assert audit.bound.effort == effort
        (gate, *_) = audit.verdict.gates
        assert f"--network-effort normal and {effort} cannot be compared" in gate.reason


@pytest.mark.parametrize("saved_first", [True, False], ids=["saved old", "saved new"])
def test_a_model_is_compared_as_the_saved_report_was_made(saved_first, models, monkeypatch) -> None:
    old, new = models
    if saved_first:
        old = report_of(old, monkeypatch, "--network-effort", QUICK, "--tolerance", "1e-3")
    else:
        new = report_of(new, monkeypatch, "--network-effort", QUICK, "--tolerance", "1e-3")
    assert exit_code(monkeypatch, "diff", old, new, "-o", "diff.csv") == 0
    assert next(csv.DictReader(io.StringIO(Path("diff.csv").read_text())))["change"] == "smaller"


def test_a_bound_that_only_the_method_made_smaller_is_no_change(models, monkeypatch, capsys) -> None:
    """Reports of versions without a search say nothing of it: their bounds are by the rules alone."""
    old, new = models
    baseline = without_search(report_of(old, monkeypatch))
    assert saved.read_one(baseline).bound.effort == ""
    capsys.readouterr()
    assert exit_code(monkeypatch, "diff", baseline, new) == 0
    said = "not comparable: bounds by the rules alone and with --network-effort"
    assert said in capsys.readouterr().out
    assert exit_code(monkeypatch, "diff", baseline, new, "--max-increase", "0") == 3
    assert exit_code(monkeypatch, "check", new, "--baseline", baseline) == 3
    assert exit_code(monkeypatch, "check", old, "--baseline", baseline) == 0, "a file that has not changed"


@pytest.mark.parametrize("renderer", DIFFERENCES, ids=lambda renderer: renderer.name)
def test_a_reason_is_inert_in_every_format(renderer) -> None:
    """It may quote the version that a saved report claims to be of."""
    hostile = "\x1b[31m<script>|`@x\u202e"
    old = replace(bounded(4, row("a", 1, 1)), version=hostile, model=replace(AUDIT.model, sha256="1" * 64))
    text = renderer.render(difference(old, bounded(2, row("a", 1, 1))), Terminal())
    assert all(character.isprintable() for character in text.replace("\n", ""))
    if renderer.name in ("html", "markdown"):
        assert "31m<script>" not in text
    assert ("bounds of convsv" in text) == (renderer.name != "csv")
