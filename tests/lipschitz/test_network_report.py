"""What an audit says about the whole network: table, JSON, findings, exit codes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from convsv_cli import audit
from convsv_cli.lipschitz.reported import _common
from convsv_cli.report import BOUNDED, COVARIANCE, RULES, UNBOUNDED, UNKNOWN
from tests.support.command_line import convsv
from tests.support.onnx_models import graph_model, normal, saved
from tests.support.whole_bounds import by_rules

SAMPLE = Path(__file__).parents[2] / "sample_models" / "resnet20.onnx"
WEIGHTS = {"a.weight": normal(4, 3, 1, 1), "b.weight": normal(2, 4, 1, 1)}
node = helper.make_node


def chain(folder: Path, *, gate: bool) -> Path:
    """Conv, Relu, Conv; between the two, where asked for, a product of activations."""
    nodes = [
        node("Conv", ["x", "a.weight"], ["t"], name="a"),
        node("Relu", ["t"], ["u"], name="relu"),
        node("GlobalAveragePool", ["t"], ["p"], name="pool"),
        node("Mul", ["u", "p"], ["v"], name="gate") if gate else node("Identity", ["u"], ["v"]),
        node("Conv", ["v", "b.weight"], ["y"], name="b"),
    ]
    return saved(graph_model(nodes, {"x": [1, 3, 6, 6]}, WEIGHTS), folder)


def test_rules_bound_a_chain_by_the_product_and_covariance_propagation_by_less(tmp_path: Path) -> None:
    path = chain(tmp_path, gate=False)
    result = audit(path, network_effort="quick")
    product = math.prod(layer.measurement("certified").value for layer in result.layers)
    matrices = [WEIGHTS[name][..., 0, 0].astype(float) for name in ("b.weight", "a.weight")]
    linear = np.linalg.norm(matrices[0] @ matrices[1], 2)  # where every Relu is on
    for bound, route, most in ((by_rules(path), RULES, 1 + 1e-9), (result.bound, COVARIANCE, 0.8)):
        assert bound.status == BOUNDED
        assert linear < bound.lipschitz <= most * product
        assert bound.log10 == pytest.approx(math.log10(bound.lipschitz))
        assert [(block.name, block.route) for block in bound.blocks] == [("a", route), ("b", route)]
        assert sum(block.share for block in bound.blocks) == pytest.approx(1)
    assert by_rules(path).lipschitz == pytest.approx(product, rel=1e-12)


def test_a_gate_is_named_and_what_is_around_it_is_bounded(tmp_path: Path) -> None:
    result = audit(chain(tmp_path, gate=True))
    bound = result.bound
    assert bound.status == UNBOUNDED
    assert [(o.node, o.op) for o in bound.obstacles] == [("gate", "Mul")]
    assert math.isinf(bound.lipschitz)
    assert [(part.start, part.end) for part in bound.parts] == [("x", "t"), ("v", "y")]
    found = [finding for finding in result.findings if finding.rule == "unbounded-node"]
    assert [(f.node, f.severity) for f in found] == [("gate", "warning")]


def test_a_gate_on_bounded_inputs(tmp_path: Path) -> None:
    path = chain(tmp_path, gate=True)
    bounds = [audit(path, input_range=(-r, r)).bound for r in (1.0, 2.0)]
    assert [bound.status for bound in bounds] == [BOUNDED, BOUNDED]
    assert bounds[1].lipschitz == pytest.approx(2 * bounds[0].lipschitz, rel=1e-6)


def test_an_output_that_does_not_depend_on_the_gate_is_constant(tmp_path: Path) -> None:
    nodes = [
        node("Mul", ["x", "x"], ["a"], name="gate"),
        node("Exp", ["a"], ["e"]),
        node("Mul", ["e", "zero"], ["y"]),
    ]
    weights = {"zero": np.zeros(3, dtype=np.float32)}
    bound = audit(saved(graph_model(nodes, {"x": [1, 3]}, weights), tmp_path)).bound
    assert (bound.status, bound.lipschitz, bound.log10) == (BOUNDED, 0.0, None)


def test_nothing_is_said_of_a_network_that_was_not_audited_whole(tmp_path: Path) -> None:
    path = chain(tmp_path, gate=False)
    assert audit(path, layers=["a"]).bound.status == UNKNOWN
    assert audit(path, as_stride_1=True).bound.status == UNKNOWN
    assert "no graph" in audit(SAMPLE.with_suffix(".pt")).bound.reason


def test_json_has_the_same(tmp_path: Path) -> None:
    result = convsv("audit", chain(tmp_path, gate=True), "--format", "json")
    network = json.loads(result.stdout)["audits"][0]["network"]
    assert result.returncode == 0
    assert network["certified"] is False
    assert network["lipschitz_upper"] is None
    assert [entry["node"] for entry in network["unbounded"]] == ["gate"]
    assert [block["factor"] is None for block in network["blocks"]] == [False, True, False]
    assert [part["blocks"] for part in network["parts"]] == [1, 1]


def test_the_table_explains(tmp_path: Path) -> None:
    plain = convsv("audit", chain(tmp_path, gate=False)).stdout
    explained = convsv("audit", chain(tmp_path, gate=False), "--explain").stdout
    assert "network: certified Lipschitz bound (L2) ≤" in plain
    assert "share of log L" not in plain
    assert "share of log L" in explained
    assert "not a bound of the network" in plain


def test_the_table_names_what_has_no_bound(tmp_path: Path) -> None:
    result = convsv("audit", chain(tmp_path, gate=True), "--explain")
    assert "network: no certified Lipschitz bound, because of 1 node" in result.stdout
    assert "gate (Mul): a product of two activations" in result.stdout
    assert "bounded part: x → t ≤" in result.stdout
    assert "unbounded" in result.stdout


@pytest.mark.parametrize("value", ["1", "2,1", "a,b", "0,inf", "nan,1", "1,2,3"])
def test_ranges_that_are_none(value: str, tmp_path: Path) -> None:
    result = convsv("audit", chain(tmp_path, gate=False), "--input-range", value)
    assert result.returncode == 2
    assert "invalid range" in result.stderr


def test_a_product_beyond_floats_has_a_logarithm(tmp_path: Path) -> None:
    nodes = [node("MatMul", [f"t{i}", "w"], [f"t{i + 1}"]) for i in range(400)]
    path = saved(
        graph_model(nodes, {"t0": [1, 2]}, {"w": 10 * np.eye(2, dtype=np.float32)}, ("t400",)), tmp_path
    )
    result = convsv("audit", path)
    assert "≤ 10^400.0" in result.stdout
    network = json.loads(convsv("audit", path, "--format", "json").stdout)["audits"][0]["network"]
    assert network["lipschitz_upper"] is None
    assert network["certified"] is True
    assert 400 <= network["log10_lipschitz_upper"] < 400.02


def test_names_of_blocks() -> None:
    assert _common(("layer1.0.conv1", "layer1.0.conv2")) == "layer1.0"
    assert _common(("conv1",)) == "conv1"
    assert _common(("conv1", "fc")) == "conv1 … fc"
    assert _common(("a.b", "a.b.c")) == "a"
    assert _common(()) == ""


def test_an_open_first_axis_is_one_sample_and_said_to_be(tmp_path: Path) -> None:
    weights = {"w": np.eye(4, dtype=np.float32)}
    model = graph_model([node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 4]}, weights)
    assumptions = audit(saved(model, tmp_path)).bound.assumptions
    assert "the open first axis of the input 'x' is 1: the bound is for one sample" in assumptions
    fixed = graph_model([node("MatMul", ["x", "w"], ["y"])], {"x": [1, 4]}, weights)
    assert len(audit(saved(fixed, tmp_path)).bound.assumptions) == 1


def test_the_empirical_estimate_is_below_the_bound(tmp_path: Path) -> None:
    path = chain(tmp_path, gate=False)
    bound = audit(path, empirical="random").bound
    assert bound.empirical is not None
    assert 0.3 * bound.lipschitz < bound.empirical.ratio <= bound.lipschitz
    shown = convsv("audit", path, "--empirical", "random").stdout
    assert "an estimate from below; the gap is 10^0." in shown


def test_an_estimate_needs_a_model_that_runs_and_data_that_exist(tmp_path: Path) -> None:
    missing = convsv("audit", chain(tmp_path, gate=False), "--empirical", tmp_path / "no.npz")
    assert (missing.returncode, "no such file" in missing.stderr) == (2, True)
    weights = convsv("audit", SAMPLE.with_suffix(".pt"), "--empirical", "random")
    assert (weights.returncode, "runs ONNX graphs, and what has one" in weights.stderr) == (
        2,
        True,
    )
