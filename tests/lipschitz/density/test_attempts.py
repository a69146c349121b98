"""Which way to a bound is taken where one of them breaks off."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from convsv_cli import audit
from convsv_cli.lipschitz import effort
from convsv_cli.lipschitz.density import attempts
from convsv_cli.lipschitz.density.plan import Plan
from convsv_cli.lipschitz.density.recursion import Recursion
from convsv_cli.lipschitz.density.search import Found, Own
from convsv_cli.report import NORMAL, QUICK, THOROUGH
from tests.support.onnx_models import graph_model, normal, saved


def network(folder: Path) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "l"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    weights = {"k": normal(4, 2, 3, 3), "l": normal(3, 4, 3, 3)}
    return saved(graph_model(nodes, {"x": [1, 2, 20, 20]}, weights), folder)


def test_a_search_that_has_nowhere_to_begin_leaves_what_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = network(tmp_path)
    quick = audit(path, network_effort="quick").bound
    whole = attempts.valued

    def broken_off(recursion: Recursion, own: Own) -> Found:
        index, first = next(iter(whole(recursion, own).multipliers.items()))
        return Found(multipliers={index: first})

    monkeypatch.setattr(attempts, "valued", broken_off)
    broken = audit(path).bound
    assert quick.blocks[0].route == "covariance"
    assert broken.lipschitz == quick.lipschitz


@pytest.mark.exhaustive
def test_where_the_whole_torus_takes_too_much_memory_a_small_one_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thorough search had none at all then, and proved less than a normal one."""
    monkeypatch.setitem(effort.DENSE, THOROUGH, 0.0)
    monkeypatch.setitem(effort.MOST_STEPS, THOROUGH, 30)
    monkeypatch.setitem(effort.MOST_STEPS, NORMAL, 10)
    path, steps, asked = network(tmp_path), attempts._steps, list[Plan]()
    quick, normal_ = (audit(path, network_effort=each).bound.lipschitz for each in (QUICK, NORMAL))

    def without_the_first(plan: Plan, effort: effort.Effort) -> int:
        asked.append(plan)
        return steps(plan, effort) if len(asked) > 1 else 0

    monkeypatch.setattr(attempts, "_steps", without_the_first)
    thorough = audit(path, network_effort=THOROUGH).bound.lipschitz
    assert asked[1].frequencies < asked[0].frequencies
    assert thorough < 0.5 * (quick + normal_)
