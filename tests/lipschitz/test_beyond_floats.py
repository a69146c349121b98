"""Networks whose figures leave the floating-point numbers on the way, or in the end."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from convsv_cli import api
from tests.support.budget_models import exit_code, in_doubles
from tests.support.onnx_models import graph_model, saved


@pytest.mark.parametrize(
    "factors", [(1e200, 1.0), (1.0, 1e200), (1e200, 1e108), (1e160, 1e-160), (1e-200, 1.0)]
)
def test_matrices_beyond_the_squares_of_floating_point_have_a_bound(factors, tmp_path: Path) -> None:
    """What folding makes of them may have none that can be computed; then that of the layers counts."""
    found = api.audit(in_doubles(tmp_path, *(np.eye(4) * factor for factor in factors))).bound
    product = math.prod(factors)
    assert product <= found.lipschitz <= product * (1 + 1e-3)
    assert math.isfinite(found.log10)


def test_a_branch_beyond_floating_point_is_an_obstacle(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="a"),
        helper.make_node("Relu", ["h"], ["r"], name="r"),
        helper.make_node("MatMul", ["r", "b"], ["g"], name="b"),
        helper.make_node("Add", ["x", "g"], ["y"], name="add"),
    ]
    model = graph_model(nodes, {"x": [1, 4]}, {name: np.eye(4) * 1e200 for name in "ab"})
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    bound = api.audit(saved(model, tmp_path, "skip.onnx")).bound
    assert bound.status == "unbounded"
    assert [(each.node, each.reason) for each in bound.obstacles] == [
        ("b", "its bound, times those before it, is beyond 1e308")
    ]


@pytest.mark.parametrize("factor", [1.7e308, 1e200, 1e-300, 5e-324, 0.0])
def test_a_budget_to_begin_with_is_one_that_can_be_read(factor: float, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    in_doubles(tmp_path, np.eye(4) * factor)
    assert exit_code(monkeypatch, "check", "--init", "model.onnx", "-o", "convsv.toml") == 0
    assert exit_code(monkeypatch, "check") == (0 if factor else 2)
    if not factor:
        assert "of the whole network: now 0." in Path("convsv.toml").read_text()


def test_a_budget_to_begin_with_says_what_is_beyond_floating_point(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    in_doubles(tmp_path, np.eye(4) * 1e200, np.eye(4) * 1e200)
    assert exit_code(monkeypatch, "check", "--init", "model.onnx", "-o", "convsv.toml") == 0
    assert "it is beyond 1e308 now" in Path("convsv.toml").read_text()
    assert exit_code(monkeypatch, "check") == 0
