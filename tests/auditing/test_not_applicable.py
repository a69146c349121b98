"""The status of tables goes through every format and every gate."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from convsv_cli import audit, saved
from convsv_cli.budget import Baseline, Budget, Judge, LayerBudget, Limit, judged, with_unused
from convsv_cli.comparison import changes, difference
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.comparison import DIFFERENCES
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import MISSING, NOT_APPLICABLE, PASSED, UNSUPPORTED, Audit, Place, Report, exit_code
from tests.support.budget_models import exit_code as run
from tests.support.budget_models import look_up
from tests.support.onnx_models import saved as stored

FORMATS = {renderer.name: renderer for renderer in RENDERERS}
SCHEMA = Path(__file__).parents[2] / "convsv_cli" / "renderers" / "schema" / "audit-2.schema.json"
REASON = "a table look-up by integer indices: it amplifies nothing"
TODAY, PLACE = date(2026, 7, 1), Place(path="convsv.toml", line=3)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audit(look_up(tmp_path_factory.mktemp("model")))


def told(one: Audit, name: str) -> str:
    return FORMATS[name].render(Report(command="audit", audits=(one,)), Terminal())


def test_the_audit_is_complete(found: Audit, tmp_path: Path, monkeypatch) -> None:
    assert [row.status for row in found.layers] == [NOT_APPLICABLE, "audited"]
    assert (found.audited, found.applicable, found.network.coverage) == (1, 1, 1.0)
    assert exit_code(Report(command="audit", audits=(found,))) == 0
    assert run(monkeypatch, "audit", look_up(tmp_path)) == 0


@pytest.mark.parametrize("name", ["table", "markdown", "github"])
def test_it_is_not_counted_among_the_layers(name: str, found: Audit) -> None:
    assert "1 of 1 weight layers audited, 1 not applicable" in told(found, name)
    assert "not audited" not in told(found, name)


def test_the_table_says_why(found: Audit) -> None:
    lines = told(found, "table").splitlines()
    assert any(line.split() == ["embed", "Gather", "5×4", "not", "applicable"] for line in lines)
    assert f"not applicable: embed: {REASON}" in lines


def test_the_page_says_why_and_warns_of_nothing(found: Audit) -> None:
    page = told(found, "html")
    assert f"not applicable: {REASON}" in page
    assert "could not be audited" not in page
    assert "100 % coverage, 1 not applicable" in page


def test_documents_for_programs(found: Audit, tmp_path: Path) -> None:
    document = json.loads(told(found, "json"))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    layer = document["audits"][0]["layers"][0]
    assert (layer["status"], layer["reason"]) == ("not_applicable", REASON)
    rows = list(csv.DictReader(io.StringIO(told(found, "csv"))))
    assert [row["status"] for row in rows] == ["not_applicable", "audited", "unknown"]
    (tmp_path / "a.json").write_text(json.dumps(document))
    back = saved.read(tmp_path / "a.json").audits[0]
    assert told(back, "json") == told(found, "json")
    layer["status"] = "unsupported"
    (tmp_path / "a.json").write_text(json.dumps(document))
    old = saved.read(tmp_path / "a.json").audits[0]
    assert (old.layers[0].status, old.applicable) == (UNSUPPORTED, 2)


def test_documents_for_servers(found: Audit) -> None:
    (notice,) = (
        notice
        for notice in json.loads(told(found, "sarif"))["runs"][0]["invocations"][0][
            "toolExecutionNotifications"
        ]
        if notice["descriptor"]["id"] == "not-applicable"
    )
    assert notice["level"] == "note"
    cases = {case.get("name"): case for case in ET.fromstring(told(found, "junit").encode()).iter("testcase")}
    assert cases["embed"].find("skipped").get("message") == f"not applicable: {REASON}"
    assert not any(line.startswith(("::warning", "::error")) for line in told(found, "github").splitlines())


def test_no_limit_applies_to_it_and_a_glob_for_it_alone_is_idle(found: Audit) -> None:
    limit = Limit(value=2.1, place=PLACE)
    for globs, nodes in (((), ["fc"]), (("embed",), ["fc"]), (("*",), ["fc"])):
        budgets = tuple(LayerBudget(match=glob, limit=limit) for glob in globs)
        budget = Budget(path="convsv.toml", layer=limit, layers=budgets)
        seen = judged(Judge(budget=budget, today=TODAY), found)
        assert [(gate.node, gate.outcome) for gate in seen.verdict.gates] == [
            (node, PASSED) for node in nodes
        ]
        report = with_unused(budget, Report(command="check", audits=(seen,)))
        idle = [f.message for f in report.audits[-1].findings if f.rule == "unused-budget"]
        assert bool(idle) == (globs == ("embed",))


def test_a_norm_of_the_baseline_does_not_vanish_by_calling_it_a_table(found: Audit) -> None:
    before = audit(found.model.path, as_layer=["embed"])
    baseline = Baseline(path="main.json", audit=before)
    judge = Judge(budget=Budget(path=""), today=TODAY, baseline=baseline)
    outcomes = {gate.node: gate.outcome for gate in judged(judge, found).verdict.gates}
    assert outcomes["embed"] == MISSING
    judge = replace(judge, baseline=Baseline(path="main.json", audit=found))
    assert {gate.outcome for gate in judged(judge, found).verdict.gates} == {PASSED}


def test_differences(found: Audit) -> None:
    kinds = {change.name: change.kind for change in changes(found, found)}
    assert kinds["embed"] == "not applicable"
    assert kinds["fc"] == "same"
    unsupported = replace(found.layers[0], status=UNSUPPORTED)
    older = replace(found, layers=(unsupported, *found.layers[1:]))
    assert {change.name: change.kind for change in changes(older, found)}["embed"] == "not applicable"
    declared = audit(found.model.path, as_layer=["embed"])
    for pair in ((found, declared), (declared, found)):
        assert {change.name: change.kind for change in changes(*pair)}["embed"] == "not applicable"
    unchanged = difference(found, found)
    assert all("not applicable" in each.render(unchanged, Terminal()) for each in DIFFERENCES)


@pytest.mark.parametrize("op", ["Gather", "GatherElements", "GatherND"])
def test_every_look_up_of_a_graph_is_a_table(op: str, tmp_path: Path) -> None:
    table = np.ones((5, 4), dtype=np.float32)
    shape = [3, 4] if op == "GatherElements" else [3, 1]
    graph = helper.make_graph(
        [helper.make_node(op, ["table", "i"], ["y"], name="look")],
        "g",
        [helper.make_tensor_value_info("i", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (row,) = audit(stored(model, tmp_path)).layers
    assert (row.status, row.reason) == (NOT_APPLICABLE, REASON)
