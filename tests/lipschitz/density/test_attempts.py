"""Which way to a bound is taken where one of them breaks off."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from convsv_cli import audit
from convsv_cli.lipschitz.density import attempts
from convsv_cli.lipschitz.density.recursion import Recursion
from convsv_cli.lipschitz.density.search import Found, Own
from tests.support.onnx_models import graph_model, normal, saved


def test_a_search_that_has_nowhere_to_begin_leaves_what_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "l"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    weights = {"k": normal(4, 2, 3, 3), "l": normal(3, 4, 3, 3)}
    path = saved(graph_model(nodes, {"x": [1, 2, 20, 20]}, weights), tmp_path)
    quick = audit(path, network_effort="quick").bound
    whole = attempts.valued

    def broken_off(recursion: Recursion, own: Own) -> Found:
        index, first = next(iter(whole(recursion, own).multipliers.items()))
        return Found(multipliers={index: first})

    monkeypatch.setattr(attempts, "valued", broken_off)
    broken = audit(path).bound
    assert quick.blocks[0].route == "covariance"
    assert broken.lipschitz == quick.lipschitz
