"""The examples of monitored trainings, run as users run them: their TensorBoard logs and checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks import monitor_overhead
from convsv_cli import audit

pytestmark = pytest.mark.exhaustive


def trained(root: Path, name: str, folder: Path) -> dict[str, dict[int, float]]:
    """The scalars in the log that an example leaves in the folder, by name and step."""
    command = [sys.executable, str(root / "docs" / "examples" / f"monitor_{name}.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensorboard's own imports
        from tensorboard.backend.event_processing import event_accumulator
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for path in folder.rglob("events.out.tfevents.*"):
        log = event_accumulator.EventAccumulator(str(path)).Reload()
        for tag in log.Tags()["scalars"]:
            found[tag.removeprefix("train/")].update({event.step: event.value for event in log.Scalars(tag)})
    return found


def check(scalars: dict[str, dict[int, float]], checkpoint: Path, matrix: str) -> dict[str, float]:
    """That norms are logged, estimates are below what is certified, and the checkpoint audits to the same.

    Args:
        scalars: as of `trained`.
        checkpoint: of the last step.
        matrix: a layer that no limit moved since: of convolutions, a checkpoint does not have the strides.

    Returns:
        The certified norms of the audit, by layer.
    """
    certified = {
        name.partition("norm_certified/")[2]: steps
        for name, steps in scalars.items()
        if "norm_certified/" in name
    }
    for name, steps in certified.items():
        estimates = scalars[f"norm_estimate/{name}"]
        assert steps.keys() <= estimates.keys()
        for step, upper in steps.items():
            assert 0.95 * upper <= estimates[step] <= upper * (1 + 1e-5), (name, step)
    report = audit(checkpoint)
    assert report.status == "complete"
    audited = [layer for layer in report.layers if layer.status == "audited"]
    norms = {layer.name: layer.measurement("certified").enclosure.upper for layer in audited}
    assert norms[matrix] == pytest.approx(certified[matrix][max(certified[matrix])], rel=3e-3)
    return norms


def test_a_plain_loop(root: Path, tmp_path: Path) -> None:
    scalars = trained(root, "plain", tmp_path)
    norms = check(scalars, tmp_path / "model.pt", "5")
    assert set(scalars["norm_certified/0"]) == {10, 20, 30}
    assert len(scalars["norm_estimate/2"]) == 30
    assert norms["0"] <= 2.0
    assert (
        (tmp_path / "norms.csv")
        .read_text(encoding="utf-8")
        .startswith("step,figure,value\n1,norm_estimate/0,")
    )


def test_a_lightning_trainer(root: Path, tmp_path: Path) -> None:
    scalars = trained(root, "lightning", tmp_path)
    norms = check(scalars, tmp_path / "model.ckpt", "head")
    assert set(scalars["norm_estimate/head"]) == {2, 4, 6, 8, 10, 12}
    assert set(scalars["norm_certified/head"]) == {6, 12}
    assert max(norms.values()) <= 1.5


def test_a_trainer_of_transformers(root: Path, tmp_path: Path) -> None:
    scalars = trained(root, "transformers", tmp_path)
    check(scalars, tmp_path / "model" / "model.safetensors", "transformer.h.1.attn.c_attn")
    (name,) = (
        name for name in scalars if name.startswith("norm_estimate/") and name.endswith("h.1.attn.c_attn")
    )
    assert set(scalars[name]) == {2, 4, 6, 8}
    assert set(scalars[name.replace("estimate", "certified")]) == {4, 8}


def test_the_benchmark_compares_steps_of_the_same_run() -> None:
    section = monitor_overhead.steps_with_estimates(steps=2, batch=2, device="cpu")
    assert [row["monitor"] for row in section.rows] == ["none", "estimates"]
    assert section.rows[0]["wall_x"] == section.rows[0]["cpu_x"] == 1
    assert section.rows[1]["cpu_x"] > 1
    (row,) = monitor_overhead.certified_copy("cpu").rows
    assert row["search_cpu_s"] > 0
