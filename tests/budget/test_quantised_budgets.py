"""Limits on both terms of what is proven of a network that rounds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from onnx import helper

from convsv_cli.budget import read_configuration
from convsv_cli.budget.judge import Judge
from convsv_cli.budget.judgement import judged
from convsv_cli.budget.starting import starting_budget
from convsv_cli.report import EXCEEDED, MISSING, PASSED, Quantised
from convsv_cli.saved import read_one
from tests.support.command_line import convsv
from tests.support.documents import AUDIT, BOUND, HOPELESS, ROUNDED, UNBOUNDED
from tests.support.onnx_models import graph_model, saved

FACTOR, STEP = "max-quantised-lipschitz", "max-quantised-step"
WEIGHTS = {"s": np.float32(0.25), "z": np.int8(0), "w": np.eye(4, dtype=np.float32)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Rounds four numbers to multiples of 0.25: a factor of 1, and an error of 0.25 sqrt(4)."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
        helper.make_node("MatMul", ["d", "w"], ["y"], name="w"),
    ]
    return saved(graph_model(nodes, {"x": [1, 4]}, WEIGHTS, opset=21), tmp_path)


@pytest.mark.parametrize(
    ("budget", "code"),
    [
        (f"{FACTOR} = 1.001\n{STEP} = 0.501", 0),
        (f"{FACTOR} = 0.999\n{STEP} = 0.501", 1),
        (f"{FACTOR} = 1.001\n{STEP} = 0.499", 1),
        (f"{STEP} = 0.501", 0),
        ("max-lipschitz = 1e9\n" + f"{STEP} = 0.501", 3),
    ],
)
def test_a_budget_limits_either_term(model: Path, budget: str, code: int) -> None:
    config = model.parent / "convsv.toml"
    config.write_text(budget)
    ran = convsv("check", model, "--config", config)
    assert ran.returncode == code, ran.stdout


def test_all_formats_name_the_term(model: Path, tmp_path: Path) -> None:
    config = model.parent / "convsv.toml"
    config.write_text(f"{FACTOR} = 2\n{STEP} = 0.4")
    files = [tmp_path / f"report{suffix}" for suffix in (".json", ".xml", ".sarif", ".md", ".html", ".csv")]
    ran = convsv("check", model, "--config", config, *(f"--output={file}" for file in files))
    assert ran.returncode == 1
    (found,) = json.loads(files[0].read_text())["audits"]
    assert [gate["quantity"] for gate in found["verdict"]["gates"]] == [
        "quantised-lipschitz",
        "quantised-step",
    ]
    assert [finding["rule"] for finding in found["findings"] if finding["limit"]] == ["quantised-budget"]
    cases = {c.get("name"): c.find("failure") is not None for c in ET.parse(files[1]).iter("testcase")}
    assert cases["steps of the network"]
    assert not cases["network beside its steps"]
    assert "what the steps of its quantisers may add" in files[2].read_text()
    for file in files[3:5]:
        assert "steps of the network" in file.read_text()
    again = read_one(files[0])
    assert [gate.outcome for gate in again.verdict.gates] == [PASSED, EXCEEDED]
    assert again.bound.quantised == Quantised(
        lipschitz=found["network"]["quantised"]["lipschitz_upper"],
        added=found["network"]["quantised"]["added_upper"],
        quantisers=1,
    )
    for format_name in ("markdown", "json"):  # of a report and a model with no Lipschitz bound
        assert convsv("diff", files[0], model, "--format", format_name).returncode == 0


def outcomes(bound: object, budget: str, tmp_path: Path) -> list[tuple[str, str]]:
    path = tmp_path / "convsv.toml"
    path.write_text(budget)
    configuration = read_configuration(path)
    judge = Judge(budget=configuration.budget, today=date(2026, 1, 1))
    gates = judged(judge, replace(AUDIT, layers=(), bound=bound)).verdict.gates
    return [(gate.outcome, gate.reason) for gate in gates]


def test_nothing_passes_that_is_not_known(tmp_path: Path) -> None:
    for limit in (f"{FACTOR} = 1e300", f"{STEP} = 1e300"):
        assert outcomes(HOPELESS, limit, tmp_path) == [(MISSING, HOPELESS.quantised.reason)]
        ((outcome, reason),) = outcomes(UNBOUNDED, limit, tmp_path)
        assert (outcome, "gate0" in reason) == (MISSING, True)
        half = replace(ROUNDED, quantised=replace(ROUNDED.quantised, added=float("inf")))
        assert [outcome for outcome, _ in outcomes(half, limit, tmp_path)] == [MISSING]


def test_a_network_with_a_lipschitz_bound_has_no_steps(tmp_path: Path) -> None:
    above, below = BOUND.lipschitz * 1.01, BOUND.lipschitz * 0.99
    assert [o for o, _ in outcomes(BOUND, f"{FACTOR} = {above}\n{STEP} = 1e-9", tmp_path)] == [PASSED] * 2
    assert [o for o, _ in outcomes(BOUND, f"{FACTOR} = {below}", tmp_path)] == [EXCEEDED]


def test_a_first_budget_has_both_terms(tmp_path: Path) -> None:
    text = starting_budget(replace(AUDIT, bound=ROUNDED), "net.onnx")
    assert [outcome for outcome, _ in outcomes(ROUNDED, text, tmp_path)][:2] == [PASSED] * 2
    larger = replace(ROUNDED, quantised=replace(ROUNDED.quantised, added=0.6, lipschitz=14.0))
    assert [outcome for outcome, _ in outcomes(larger, text, tmp_path)][:2] == [EXCEEDED] * 2
