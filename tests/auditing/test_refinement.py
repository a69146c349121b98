"""What a budget leaves undecided is measured more closely, that and nothing else, and not forever."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convsv_cli import api, report
from convsv_cli.auditing import checking, refining
from convsv_cli.auditing.checking import check_file
from convsv_cli.budget import Budget, Ignore, Judge, LayerBudget, Limit
from convsv_cli.report import EXCEEDED, IGNORED, PASSED, UNDECIDED, Audit, Gate, Place, Settings
from convsv_cli.spectral.norms import Norms
from tests.support.budget_models import convolution, scaled
from tests.support.onnx_models import graph_model, normal, saved

PLACE = Place(path="convsv.toml", line=1)
COARSE = 0.2


def judge(*, layers: dict[str, float] | None = None, **limits: float) -> Judge:
    def limit(value: float) -> Limit:
        return Limit(value=value, place=PLACE)

    budgets = tuple(LayerBudget(match=name, limit=limit(value)) for name, value in (layers or {}).items())
    return Judge(
        budget=Budget(
            path="convsv.toml", layers=budgets, **{name: limit(value) for name, value in limits.items()}
        ),
        today=date(2026, 1, 1),
    )


def gate_of(audit: Audit) -> Gate:
    (gate,) = audit.verdict.gates
    return gate


@pytest.fixture
def tolerances(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of each certified norm that is measured, in order."""
    seen: list[float] = []
    honest = Norms.supremum

    def watched(norms: Norms, *, tolerance: float = 1e-3, limit: float) -> report.Interval:
        seen.append(tolerance)
        return honest(norms, tolerance=tolerance, limit=limit)

    monkeypatch.setattr(Norms, "supremum", watched)
    return seen


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convolution(tmp_path_factory.mktemp("refinement"))


@pytest.fixture(scope="module")
def truth(model: Path) -> float:
    """The norm, to about 1e-7."""
    (row,) = api.audit(model, tolerance=1e-7).layers
    return row.measurement("certified").enclosure.lower


@pytest.fixture(scope="module")
def loose(model: Path) -> report.Interval:
    (row,) = api.audit(model, tolerance=COARSE).layers
    enclosure = row.measurement("certified").enclosure
    assert enclosure.upper > 1.01 * enclosure.lower, "wide enough to hold budgets"
    return enclosure


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.01, 0.99))
def test_a_budget_within_what_is_proven_is_decided_as_the_truth_has_it(
    share: float, model: Path, truth: float, loose: report.Interval
) -> None:
    limit = loose.lower + share * (loose.upper - loose.lower)
    gate = gate_of(check_file(model, judge(layer=limit), Settings(tolerance=COARSE)))
    if gate.outcome == UNDECIDED:
        assert limit == pytest.approx(truth, rel=COARSE * refining.FINER**refining.STEPS * 2)
    else:
        assert gate.outcome == (PASSED if truth <= limit else EXCEEDED)
    assert gate.enclosure.lower <= truth * (1 + 1e-6)
    assert gate.enclosure.upper >= truth


def test_the_loose_upper_end_alone_would_have_failed_the_gate(
    model: Path, truth: float, loose: report.Interval, tolerances: list[float]
) -> None:
    limit = (truth + loose.upper) / 2
    audit = check_file(model, judge(layer=limit), Settings(tolerance=COARSE))
    assert gate_of(audit).outcome == PASSED
    (row,) = audit.layers
    assert row.measurement("certified").enclosure == gate_of(audit).enclosure, "the report shows why"
    assert dict(audit.network.product)["certified"] == row.measurement("certified").value
    assert tolerances[0] == COARSE
    assert 1 < len(tolerances) <= 1 + refining.STEPS


@pytest.mark.parametrize("share", [0.5, 0.999, 1.3, 2.0])
def test_what_is_decided_is_not_measured_again(
    share: float, model: Path, loose: report.Interval, tolerances: list[float]
) -> None:
    limit = loose.lower * share if share < 1 else loose.upper * share
    gate = gate_of(check_file(model, judge(layer=limit), Settings(tolerance=COARSE)))
    assert gate.outcome == (EXCEEDED if share < 1 else PASSED)
    assert tolerances == [COARSE]


def test_a_budget_of_the_norm_itself_stays_undecided_after_some_steps(
    model: Path, truth: float, tolerances: list[float]
) -> None:
    audit = check_file(model, judge(layer=truth), Settings(tolerance=COARSE))
    gate = gate_of(audit)
    assert gate.outcome == UNDECIDED
    assert "refining did not decide" in gate.reason
    assert len(tolerances) == 1 + refining.STEPS
    assert tolerances == sorted(tolerances, reverse=True)
    (finding,) = audit.findings
    assert (finding.rule, finding.severity) == ("layer-undecided", report.WARNING)


def test_only_the_layers_that_straddle_are_measured_again(tmp_path: Path, monkeypatch) -> None:
    from onnx import helper

    weights = {f"c{i}.weight": normal(3 + i, 3 if i == 0 else 2 + i, 3, 3) for i in range(3)}
    nodes = [
        helper.make_node("Conv", [f"x{i}", f"c{i}.weight"], [f"x{i + 1}"], name=f"c{i}") for i in range(3)
    ]
    path = saved(graph_model(nodes, {"x0": [1, 3, 9, 9]}, weights, outputs=["x3"]), tmp_path)
    rows = {row.name: row for row in api.audit(path, tolerance=COARSE).layers}
    ends = {name: row.measurement("certified").enclosure for name, row in rows.items()}
    budget = {
        "c0": ends["c0"].upper * 1.01,
        "c1": (ends["c1"].lower + ends["c1"].upper) / 2,
        "c2": ends["c2"].lower * 0.99,
    }
    again: list[str] = []
    honest = checking.refined_row

    def watched(layer, *rest: object) -> report.LayerAudit:
        again.append(layer.name)
        return honest(layer, *rest)

    monkeypatch.setattr(checking, "refined_row", watched)
    found = {
        gate.node: gate
        for gate in check_file(path, judge(layers=budget), Settings(tolerance=COARSE)).verdict.gates
    }
    assert again == ["c1"]
    assert (found["c0"].outcome, found["c2"].outcome) == (PASSED, EXCEEDED)
    assert found["c0"].enclosure == ends["c0"]


def test_ignored_layers_are_not_measured_again(model: Path, truth: float, tolerances: list[float]) -> None:
    ignore = Ignore(match="conv", reason="known", expires=None, place=PLACE)
    budget = Budget(path="b", layer=Limit(value=truth, place=PLACE), ignores=(ignore,))
    gate = gate_of(
        check_file(model, Judge(budget=budget, today=date(2026, 1, 1)), Settings(tolerance=COARSE))
    )
    assert gate.outcome == IGNORED
    assert tolerances == [COARSE]


def test_a_work_limit_is_raised_until_it_does_or_steps_end(model: Path, truth: float, monkeypatch) -> None:
    seen: list[float] = []
    honest = Norms.supremum

    def watched(norms: Norms, *, tolerance: float, limit: float) -> report.Interval:
        seen.append(limit)
        return honest(norms, tolerance=tolerance, limit=limit)

    monkeypatch.setattr(Norms, "supremum", watched)
    for work in (0.0, 1e3, 1e5):
        seen.clear()
        gate = gate_of(check_file(model, judge(layer=truth * 1.001), Settings(work_limit=work)))
        assert gate.outcome in (PASSED, UNDECIDED)
        assert seen == [work * refining.LONGER**step for step in range(len(seen))]
        assert len(seen) <= 1 + refining.STEPS


@pytest.mark.parametrize("gap", [1e-5, 1e-2, 0.1])
def test_a_network_bound_is_refined_where_that_could_help(gap: float, tmp_path: Path, truth: float) -> None:
    """A convolution of images of any size: its bound is its norm, and limits above it are kept after all."""
    path = convolution(tmp_path, size="n")
    loose = api.audit(path, tolerance=COARSE).bound.lipschitz
    assert loose > truth * 1.01
    audit = check_file(path, judge(network=truth * (1 + gap)), Settings(tolerance=COARSE))
    gate = gate_of(audit)
    if gap >= COARSE * refining.FINER**2:
        assert gate.outcome == PASSED
        assert truth <= audit.bound.lipschitz == gate.enclosure.upper <= truth * (1 + gap)
    else:
        assert gate.outcome in (PASSED, EXCEEDED)
        assert audit.bound.lipschitz < loose


def test_a_network_bound_far_above_its_limit_is_not_measured_again(
    model: Path, truth: float, tolerances: list[float]
) -> None:
    before = len(tolerances)
    api.audit(model)
    audits = len(tolerances) - before
    audit = check_file(model, judge(network=truth / 2), Settings())
    assert len(tolerances) - before == 2 * audits
    (finding,) = audit.findings
    assert finding.rule == "network-budget"
    assert "the network itself may amplify less" in finding.message


@pytest.mark.parametrize("norms", [(0, 3), (3, 0), (0, 0), (0,)])
def test_a_bound_of_zero_keeps_any_limit(norms: tuple[float, ...], tmp_path: Path) -> None:
    audit = check_file(scaled(tmp_path, *norms), judge(network=1e-300, layer=3.1), Settings())
    assert {gate.outcome for gate in audit.verdict.gates} == {PASSED}
