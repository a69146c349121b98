"""The script that sets convsv beside its peers: all values agree; nothing is asserted about times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import peers, spectral
from benchmarks.graphs import real_resnet18
from benchmarks.sample_kernels import gaussian, orthogonal, perturbed
from tests.support import oracles, runtime

Sections = dict[str, Any]


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/spectral.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def document(root: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("benchmark") / "figures.json"
    process = run(root, "--quick", "--threads", "1", "--shared", str(shared), "--json", str(path))
    assert process.returncode == 0, process.stderr
    result = json.loads(path.read_text(encoding="utf-8"))
    for section in result["sections"].values():
        assert section["title"] in process.stdout
    return result


@pytest.fixture(scope="module")
def sections(document: dict[str, Any]) -> Sections:
    return document["sections"]


@pytest.mark.long
def test_the_document_is_complete(document: dict[str, Any]) -> None:
    assert set(document) == {"machine", "quick", "sections"}
    assert all(document["machine"].values())
    assert list(document["sections"]) == list(spectral.NAMES)
    for section in document["sections"].values():
        assert section["seconds"] > 0
        assert len({tuple(row) for row in section["rows"]}) == 1
        for row in section["rows"]:
            times = {key: cell for key, cell in row.items() if key.endswith(("_s", "_x"))}
            assert times
            assert all(cell is None or cell > 0 for cell in times.values())


@pytest.mark.parametrize("name", ["real", "large", "channels"])
def test_ours_are_sedghis(name: str, sections: Sections) -> None:
    rows = [row for row in sections[name]["rows"] if row["kernel"] != "total"]
    for row in rows:
        assert row["lower"] <= row["upper"] <= row["lower"] * (1 + 1e-9)
        assert (row["timed"] == "measured") == (row["sedghi"] is not None)
        if row["sedghi"] is not None:
            assert row["upper"] == pytest.approx(row["sedghi"], rel=1e-10)
            assert row["difference"] < 1e-10
    assert rows[-1]["sedghi"] is None or name != "large"


def test_a_total_sums_the_times(sections: Sections) -> None:
    *rows, total = sections["real"]["rows"]
    assert total["kernel"] == "total"
    for key in ("sedghi_s", "ours_s"):
        assert total[key] == pytest.approx(sum(row[key] for row in rows))
    assert total["faster_x"] == pytest.approx(total["sedghi_s"] / total["ours_s"])


def test_every_method_says_what_it_proves(sections: Sections) -> None:
    ratios = {row["method"]: (row["proves"], row["by_true"]) for row in sections["random"]["rows"]}
    assert len(ratios) == 11
    for proves, ratio in ratios.values():
        if proves == "exact":
            assert ratio == pytest.approx(1, rel=1e-12)
        elif proves != "estimate":
            assert ratio > 1 - (1e-6 if proves == "upper*" else 1e-12)
    assert ratios["convsv at n"][1] == pytest.approx(1, rel=1e-10)
    assert ratios["Gram iteration, 6 squarings, complex128"][1] < 1.05
    everywhere = [ratio for name, (_, ratio) in ratios.items() if "every n" in name]
    assert everywhere == sorted(everywhere, reverse=True)


def test_growth_has_memory_and_values(sections: Sections) -> None:
    rows = sections["growth"]["rows"]
    assert [row["n"] for row in rows] == [7, 1024]
    for row in rows:
        assert row["peak_growth_MB"] >= 0
        assert row["sedghi"] is None or row["ours"] == pytest.approx(row["sedghi"], rel=1e-10)
    assert rows[-1]["timed"] == "extrapolated"


def test_flat_symbols_are_certified(sections: Sections) -> None:
    *certified, exact = sections["flat"]["rows"]
    for row in certified:
        assert row["width"] <= 2.1 * row["tolerance"]
        assert row["seen"] <= row["upper"] * (1 + 1e-12)
    assert certified[0]["lower"] <= 1 <= certified[0]["upper"]
    assert exact["seen"] == pytest.approx(exact["upper"], rel=1e-10)


def test_audits_reach_all_layers(sections: Sections) -> None:
    rows = sections["audit"]["rows"]
    assert [(row["model"], row["layers"]) for row in rows] == [("real", 3), ("real", 3), ("random", 3)]
    for row in rows:
        assert 0 <= row["widest"] < 1e-3
        assert "downsample" in row["layer"]
        assert (row["widest_exact"] is not None) == ("--exact" in row["options"])


def test_sections_can_be_chosen(root: Path) -> None:
    process = run(root, "--sections", "random,nonsense")
    assert process.returncode == 2
    assert "no section nonsense" in process.stderr


def test_it_starts_again_in_a_fair_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environments: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: environments.append(arguments[-1]))
    for name in spectral.SLOWING:
        monkeypatch.setenv(name, "1")
    spectral.restart(2)
    (environment,) = environments
    assert not set(spectral.SLOWING) & set(environment)
    assert {environment[name] for name in spectral.THREADS} == {"2"}


@pytest.mark.parametrize("shape", [(3, 5, 3, 3), (4, 2, 5, 3), (3, 3, 1, 4)])
def test_peers_against_dense_matrices(shape: tuple[int, ...]) -> None:
    n, kernel = 6, np.random.default_rng(0).standard_normal(shape)
    dense = oracles.circular_matrix(kernel, (n, n), stride=(1, 1), dilation=(1, 1), groups=1)
    truth = np.linalg.norm(dense, 2)
    assert peers.sedghi(kernel, n) == pytest.approx(truth, rel=1e-12)
    assert peers.sedghi(kernel, n, rows=range(n)) == pytest.approx(truth, rel=1e-12)
    assert peers.sedghi(kernel, n, rows=[1]) <= truth * (1 + 1e-12)
    assert peers.half_plane(kernel, n) == pytest.approx(truth, rel=1e-12)
    bounds = [peers.gram_iteration(kernel, n, squarings) for squarings in (1, 3, 6)]
    assert bounds == sorted(bounds, reverse=True)
    assert truth * (1 - 1e-12) <= bounds[-1] <= 1.05 * truth
    assert peers.four_unfoldings(kernel) >= truth * (1 - 1e-12)
    r, s = (oracles.spectral_norm(oracles.unfolding(kernel, frozenset({axis}))) for axis in (0, 1))
    root_hw = np.sqrt(np.prod(shape[2:]))
    assert peers.power_iteration(kernel, 500) == pytest.approx(root_hw * min(r, s), rel=1e-6)
    assert peers.power_iteration(kernel, 1) <= root_hw * min(r, s)


def test_gram_iteration_takes_any_scale() -> None:
    kernel = gaussian(4)
    truth = peers.gram_iteration(kernel, 8, 6)
    for scale in (1e-30, 1e30):
        assert peers.gram_iteration(scale * kernel, 8, 6) == pytest.approx(scale * truth, rel=1e-12)
    assert peers.gram_iteration(kernel, 8, 6, torch.float32) == pytest.approx(truth, rel=1e-5)


def test_orthogonal_kernels_are_orthogonal() -> None:
    kernel = orthogonal(8)
    assert kernel.shape == (8, 8, 3, 3)
    symbols = np.fft.fft2(kernel, (7, 7)).transpose(2, 3, 0, 1)
    assert np.linalg.svd(symbols, compute_uv=False) == pytest.approx(1, rel=1e-12)
    noise = perturbed(kernel, 1e-3) - kernel
    assert np.linalg.norm(noise) == pytest.approx(1e-3 * np.linalg.norm(kernel))


def test_the_real_graph_runs(shared: Path) -> None:
    model = real_resnet18(shared)
    session = runtime.session(model)
    (scores,) = session.run(None, {"image": np.zeros((2, 3, 64, 96), "f4")})
    assert scores.shape == (2, 1000)
    assert np.isfinite(scores).all()
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 16
