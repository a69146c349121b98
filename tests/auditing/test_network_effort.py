"""How long is searched for a bound of the network: what is asked for, what a search is told, and tells."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from convsv_cli import api
from convsv_cli.auditing.checking import check_file
from convsv_cli.auditing.plan import Meter
from convsv_cli.budget import Budget, Judge, Limit
from convsv_cli.errors import UsageError
from convsv_cli.lipschitz.effort import BACKWARD, LEAST, MOST_STEPS, PACE, Effort
from convsv_cli.report import (
    COVARIANCE,
    EFFORTS,
    NORMAL,
    QUICK,
    RULES,
    THOROUGH,
    NetworkBound,
    Place,
    Settings,
)
from tests.support.budget_models import convolution, scaled
from tests.support.onnx_models import graph_model, normal, saved

COARSE = 0.2
MEASURE = importlib.import_module("convsv_cli.auditing.measure")
"""Whose package calls a function the same."""


@pytest.fixture
def efforts(monkeypatch: pytest.MonkeyPatch) -> list[Effort]:
    """With which the network was bounded, in order; each search tells of its way in ten steps."""
    seen: list[Effort] = []
    honest = MEASURE.network_bound

    def watched(graph: object, norms: object, box: object, effort: Effort, ends: object) -> NetworkBound:
        seen.append(effort)
        for step in range(11):
            effort.progress(step / 10)
        return honest(graph, norms, box, replace(effort, progress=None), ends)

    monkeypatch.setattr(MEASURE, "network_bound", watched)
    return seen


def judge(limit: float) -> Judge:
    place = Place(path="convsv.toml", line=1)
    return Judge(
        budget=Budget(path="convsv.toml", network=Limit(value=limit, place=place)), today=date(2026, 1, 1)
    )


@pytest.mark.parametrize("level", EFFORTS)
def test_a_search_is_told_what_was_asked_for_and_what_else_there_is_to_do(
    level: str, efforts: list[Effort], tmp_path: Path
) -> None:
    """The work is a count, no time: it is the same whenever the file and the settings are."""
    path = convolution(tmp_path)
    audits = [api.audit(path, network_effort=level) for _ in range(2)]
    first, second = efforts
    assert first.level == second.level == level
    assert first.work == second.work > 0
    assert {audit.bound.effort for audit in audits} == {level}
    assert audits[0].settings.network_effort == level


def test_the_default_is_normal(efforts: list[Effort], tmp_path: Path) -> None:
    audit = api.audit(convolution(tmp_path))
    assert [effort.level for effort in efforts] == [NORMAL] == [audit.bound.effort]


def test_more_is_planned_the_longer_is_searched() -> None:
    planned = [Effort(level=level, work=2 * LEAST).planned for level in EFFORTS]
    assert planned[0] == 0
    assert planned[1] == 2 * LEAST
    assert planned == sorted(planned)
    assert Effort(level=NORMAL, work=1.0).planned == LEAST / PACE, "as long as it is worth to wait"


def test_the_dearer_a_pass_is_the_fewer_steps_are_searched() -> None:
    for level in EFFORTS:
        steps = [Effort(level=level).steps(work) for work in (1e5, 1e8, 1e9, 1e10, 1e13)]
        assert steps == sorted(steps, reverse=True)
        assert steps[0] == MOST_STEPS[level]
        assert steps[-1] == 0
    assert Effort(level=NORMAL).steps(1e9) == int(LEAST / BACKWARD / 1e9)
    assert Effort(level=NORMAL, work=2 * LEAST / PACE).steps(2e9) == int(2 * LEAST / BACKWARD / 2e9)


def test_what_is_no_effort_is_refused(tmp_path: Path) -> None:
    path = convolution(tmp_path)
    with pytest.raises(UsageError, match="one of quick, normal, thorough, not 'hard'"):
        api.audit(path, network_effort="hard")
    np.savez(tmp_path / "data.npz", x=np.zeros((1, 6, 8, 8), "float32"), y=np.zeros(1, int))
    with pytest.raises(UsageError, match="not ''"):
        api.certify(path, tmp_path / "data.npz", network_effort="")


@pytest.mark.parametrize("level", EFFORTS)
def test_the_search_has_its_share_of_the_progress(level: str, efforts: list[Effort], tmp_path: Path) -> None:
    heard: list[tuple[str, float]] = []
    api.audit(
        convolution(tmp_path), network_effort=level, progress=lambda name, share: heard.append((name, share))
    )
    (effort,) = efforts
    shares = [share for _, share in heard]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    before = max(share for name, share in heard if name == "conv")
    assert before == pytest.approx(effort.work / (effort.work + effort.planned))
    assert heard[-1][0] == "the whole network"


def test_the_share_grows_through_all_searches_of_a_network(tmp_path: Path) -> None:
    """Two stretches around an operator that has only a rule; each is searched on a torus and beside it."""
    nodes = []
    for i, (source, result) in enumerate((("x", "a"), ("b", "y"))):
        names = [source, *(f"{source}{result}{j}" for j in range(3)), result]
        for j, op in enumerate(("Conv", "Relu", "Conv", "Relu")):
            weight = [f"w{i}{j}"] if op == "Conv" else []
            nodes.append(helper.make_node(op, [names[j], *weight], [names[j + 1]], name=names[j + 1]))
    nodes.insert(4, helper.make_node("Softmax", ["a"], ["b"], axis=1))
    weights = {f"w{i}{j}": normal(3, 3, 1, 1) for i in range(2) for j in (0, 2)}
    heard: list[float] = []
    bound = api.audit(
        saved(graph_model(nodes, {"x": (1, 3, 4, 4)}, weights), tmp_path),
        progress=lambda _, share: heard.append(share),
    ).bound
    assert {block.route for block in bound.blocks} == {RULES, COVARIANCE}
    assert heard == sorted(heard)
    assert len(set(heard)) > 50
    assert heard[-1] == 1.0


def test_searches_share_the_time() -> None:
    alone, shared = (Effort(level=NORMAL, searches=count).steps(1e9) for count in (1, 3))
    assert shared == alone // 3


def test_where_the_network_is_not_bounded_the_layers_are_all_there_is_to_do(tmp_path: Path) -> None:
    heard: list[float] = []
    bound = api.audit(
        convolution(tmp_path), layers=["conv"], progress=lambda _, share: heard.append(share)
    ).bound
    assert (bound.status, bound.effort) == ("unknown", NORMAL)
    assert heard[-1] == 1.0


def test_parts_add_up_whatever_else_is_done_meanwhile() -> None:
    heard: list[tuple[str, float]] = []
    meter = Meter(lambda name, share: heard.append((name, share)), 10)
    tell: Callable[[float], None] = meter.part("a part", 6)
    tell(0.5)
    meter.advance(2)
    tell(1.0)
    meter.advance(2)
    assert [share for _, share in heard] == pytest.approx([0.3, 0.5, 0.8, 1.0])
    assert {name for name, _ in heard} == {"a part"}


def test_refining_norms_does_not_search_again(efforts: list[Effort], tmp_path: Path) -> None:
    """The bound stays that of the effort asked for, unless closer norms give a smaller one by themselves."""
    path = convolution(tmp_path, size="n")
    truth = api.audit(path, tolerance=1e-7).bound.lipschitz
    efforts.clear()
    audit = check_file(path, judge(truth * 1.1), Settings(tolerance=COARSE, network_effort=THOROUGH))
    assert efforts[0].level == THOROUGH
    assert {effort.level for effort in efforts[1:]} == {QUICK}
    assert audit.verdict.gates[0].outcome == "passed"
    assert audit.bound.effort == THOROUGH
    assert audit.bound.unrefined > audit.bound.lipschitz


def test_norms_are_not_refined_for_blocks_that_do_not_rest_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Effort] = []
    honest = MEASURE.network_bound

    def by_covariance(
        graph: object, norms: object, box: object, effort: Effort, ends: object
    ) -> NetworkBound:
        calls.append(effort)
        bound = honest(graph, norms, box, effort, ends)
        return replace(bound, blocks=tuple(replace(block, route=COVARIANCE) for block in bound.blocks))

    monkeypatch.setattr(MEASURE, "network_bound", by_covariance)
    path = scaled(tmp_path, 2.0, 3.0)
    audit = check_file(path, judge(6.0 * (1 - 1e-9)), Settings())
    assert len(calls) == 1
    assert audit.verdict.gates[0].outcome == "exceeded"
    assert audit.bound.unrefined is None
