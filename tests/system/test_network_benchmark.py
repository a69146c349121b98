"""The script on the bound of the whole network: its figures are in order; nothing is asserted about times."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import architectures, long_graphs
from benchmarks.network import PARTS
from benchmarks.network_plan import NetworkPlan, cases
from benchmarks.network_sections import SECTIONS
from benchmarks.one_bound import measured
from benchmarks.sum_rule import sum_rule
from convsv_cli import audit


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/network.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tables(root: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By what their titles say after the colon."""
    path = tmp_path_factory.mktemp("benchmark") / "figures.json"
    process = run(root, "--quick", "--threads", "1", "--shared", str(shared), "--json", str(path))
    assert process.returncode == 0, process.stderr
    document = json.loads(path.read_text(encoding="utf-8"))
    assert all(document["machine"].values())
    for table in document["tables"]:
        assert table["title"] in " ".join(process.stdout.split())
        assert len({tuple(row) for row in table["rows"]}) == 1
    return {table["title"].partition(":")[2].strip(): table for table in document["tables"]}


def rows(tables: dict[str, Any], start: str) -> list[dict[str, Any]]:
    (found,) = (table for title, table in tables.items() if title.startswith(start))
    return found["rows"]


def test_the_parts_are_those_that_are_listed() -> None:
    assert tuple(SECTIONS) == PARTS


@pytest.mark.long
def test_bounds_are_above_what_is_seen(tables: dict[str, Any]) -> None:
    (row,) = rows(tables, "log10")
    assert row["network"] == "mnist_mlp"
    assert row["jacobian"] <= row["floor"] <= row["quick"] <= row["sum_rule"] == row["product"]
    assert (row["normal"], row["thorough"]) == (None, None)


def test_costs_are_told(tables: dict[str, Any]) -> None:
    (row,) = rows(tables, "what the bound takes")
    assert row["audit_s"] > 0
    assert row["quick_s"] > 0
    assert row["quick MB"] >= 0


def test_chains_have_ratios_and_a_verdict(tables: dict[str, Any]) -> None:
    table = next(table for title, table in tables.items() if title.startswith("dense layers"))
    assert [row["neurons"] for row in table["rows"]] == [5, 6]
    for row in table["rows"]:
        assert row["lipsdp"] <= row["eclipse"] <= row["product"]
        assert row["by_eclipse"] == pytest.approx(row["ours"] / row["eclipse"], rel=1e-3)
        assert row["by_lipsdp"] == pytest.approx(row["ours"] / row["lipsdp"], rel=1e-3)
        assert row["by_lipsdp"] > 0.999
        assert row["faster_x"] == pytest.approx(row["lipsdp_s"] / row["ours_s"])
    worst = max(row["by_eclipse"] for row in table["rows"])
    assert any(f"at most {worst:.4g}"[:-1] in note for note in table["notes"])


def test_the_cost_has_exponents(tables: dict[str, Any]) -> None:
    table = next(table for title, table in tables.items() if title.startswith("`quick` on"))
    assert [(row["width"], row["n"]) for row in table["rows"]] == [(2, 8), (4, 8), (2, 16)]
    assert all(row["quick_s"] > 0 and row["process MB"] > 0 for row in table["rows"])
    assert "?" not in table["notes"][1]


def test_long_graphs_are_bounded(tables: dict[str, Any]) -> None:
    found = rows(tables, "the sum rule")
    assert [row["nodes"] for row in found] == [30, 30, 28]
    assert found[0]["log10"] == pytest.approx(10 * math.log10(9 / 8), abs=1e-3)
    assert found[1]["log10"] == 0


def test_the_sum_rule_is_no_less_than_what_an_audit_gives(tmp_path: Path) -> None:
    path = architectures.resnet20(tmp_path / "network.onnx", 4, 16)
    found, report = sum_rule(path), audit(path, network_effort="quick")
    assert report.bound.log10 <= found.bound + 1e-9
    assert (found.nodes, found.layers) == (52, 22)
    uppers = [layer.measurement("certified").enclosure.upper for layer in report.layers]
    assert found.product <= sum(map(math.log10, uppers)) + 1e-9


def test_a_process_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    path = architectures.resnet20(tmp_path / "network.onnx", 4, 16)
    assert measured(path, "quick", 0.01) == {"stopped": 0.01}


def test_networks_can_be_chosen(root: Path, shared: Path) -> None:
    plan = NetworkPlan(shared=shared, networks="ResNet-*")
    assert [case.name for case in plan.cases()] == [
        "ResNet-20 (sample)",
        "ResNet-20 (regularised)",
        "ResNet-20 (CIFAR-10)",
        "ResNet-32 (CIFAR-10)",
        "ResNet-18 (ImageNet)",
        "ResNet-50 (random)",
    ]
    assert len(cases(shared)) == 13
    process = run(root, "--only", "chains,nonsense")
    assert process.returncode == 2
    assert "no nonsense: there are networks, chains, cost, composition" in process.stderr


def test_a_resnet_50_is_among_the_graphs() -> None:
    names = [name for name, _ in long_graphs.resnets()]
    assert names == ["ResNet-50", "ResNet-50 with BatchNorms"]
