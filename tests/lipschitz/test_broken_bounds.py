"""What a network is seen to do against what is proven: a contradiction is loud, and rounding is none."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from convsv_cli import audit
from convsv_cli.cli import main
from convsv_cli.empirical import BrokenBoundError, lower_bound
from convsv_cli.empirical.double import in_double
from convsv_cli.empirical.function import Function
from convsv_cli.empirical.search import without_jumps
from convsv_cli.report.verdict import INTERNAL
from tests.support.onnx_models import graph_model, normal, saved


def added_and_taken(constant: float, dtype: str = "float32") -> ModelProto:
    """Nothing but rounding: to multiples of 2, for 3e7 in single precision."""
    nodes = [helper.make_node("Add", ["x", "c"], ["h"]), helper.make_node("Sub", ["h", "c"], ["y"])]
    model = graph_model(nodes, {"x": [1, 3]}, {"c": np.array([constant], dtype)})
    return typed(model, dtype)


def typed(model: ModelProto, dtype: str) -> ModelProto:
    """The same with inputs and outputs of that type."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return model


@pytest.mark.parametrize(("constant", "dtype"), [(3e7, "float32"), (1.5e16, "float64")])
def test_jumps_of_rounding_are_no_contradiction(constant: float, dtype: str, tmp_path: Path) -> None:
    path = saved(added_and_taken(constant, dtype), tmp_path)
    assert lower_bound(path).ratio > 2, "nothing to explain"
    bound = audit(path, empirical="random").bound
    assert bound.empirical.ratio <= bound.lipschitz <= 1 + 1e-9


NETS = {
    "MatMul": [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "Relu": [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
    "half": [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Cast", ["h"], ["c"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ],
    "Resize": [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Constant", [], ["scales"], value_floats=[1.0, 2.0]),
        helper.make_node("Resize", ["h", "", "scales"], ["y"], mode="nearest"),
    ],
    "noisy": [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node("Sub", ["h", "b"], ["y"])],
}


def net(kind: str, dtype: str, folder: Path) -> Path:
    weights = {"w": normal(6, 5).astype(dtype), "b": np.full(5, 100, dtype)}
    return saved(typed(graph_model(NETS[kind], {"x": [1, 6]}, weights), dtype), folder)


@pytest.mark.parametrize("kind", NETS)
def test_attained_bounds_are_not_accused(kind: str, tmp_path: Path) -> None:
    bound = audit(net(kind, "float32", tmp_path), empirical="random").bound
    assert 0.98 * bound.lipschitz < bound.empirical.ratio <= bound.lipschitz


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *((kind, "float32") for kind in NETS if kind != "half"),
        *((kind, "float64") for kind in ("MatMul", "Relu", "noisy")),
    ],
)
def test_a_wrong_bound_is_an_internal_error(
    kind: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Planted: 2 % less than the norm."""
    path = net(kind, dtype, tmp_path)
    honest = audit(path).bound
    wrong = replace(honest, lipschitz=0.98 * honest.lipschitz, empirical=None)
    monkeypatch.setattr("convsv_cli.auditing.bound_of", lambda *_, **__: wrong)
    with pytest.raises(BrokenBoundError):
        audit(path, empirical="random")
    monkeypatch.setattr("sys.argv", ["convsv", "audit", str(path), "--empirical", "random"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (INTERNAL, "")
    seen, proven = map(float, re.search(r"amplifies by (\S+),.* at most (\S+) \(", shown.err).groups())
    assert seen > proven == wrong.lipschitz
    assert shown.err.startswith("convsv: internal error")
    assert "please report it" in shown.err


def test_the_sample_model_in_double_precision(root: Path) -> None:
    path = root / "sample_models" / "resnet20.onnx"
    single = Function.load(path, {"image": (1, 3, 32, 32)})
    double = in_double(path, single)
    points = single.rounded(np.random.default_rng(0).standard_normal((2, single.size)))
    assert double.precision < 1e-15 < single.precision
    np.testing.assert_allclose(double.alone(points), single.alone(points), rtol=1e-3, atol=1e-3)


def test_where_there_is_no_double_precision_jumps_do_not_count(tmp_path: Path) -> None:
    points = np.random.default_rng(0).standard_normal((2, 3))
    stairs = Function.load(saved(added_and_taken(3e7), tmp_path), {})
    assert without_jumps(stairs, stairs.rounded(points)) == 0
    smooth = Function.load(saved(added_and_taken(1.0), tmp_path), {})
    assert 0.999 < without_jumps(smooth, smooth.rounded(points)) < 1
    assert without_jumps(smooth, smooth.rounded(points[:1].repeat(2, 0))) == 0
