"""The scripts that measure local certificates: proofs are below attacks, and figures show the numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import torch

from benchmarks import local_widths
from benchmarks.local_plain import network, smallest_adversarial


def rows(root: Path, shared: Path, folder: Path, script: str, *arguments: str) -> list[dict[str, Any]]:
    path = folder / "figures.json"
    command = [
        sys.executable,
        f"benchmarks/{script}",
        "--shared",
        str(shared),
        "--json",
        str(path),
        *arguments,
    ]
    process = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "CPU time of one thread" in process.stdout
    return json.loads(path.read_text(encoding="utf-8"))


def test_what_is_certified_is_below_what_withstands_attacks(root: Path, shared: Path, tmp_path: Path) -> None:
    (row,) = rows(root, shared, tmp_path, "local.py", "--only", "mnist_mlp", "--samples", "6")
    assert max(row["margins"], row["CROWN-IBP"]) <= row["real"] <= row["PGD"] <= row["clean"]
    assert row["float32"] <= row["PGD"]
    assert min(row["CROWN-IBP s"], row["real s"], row["float32 s"]) > 0


def test_an_exponent_is_the_slope_of_logarithms() -> None:
    found = [{"neurons": n, "seconds": 3.0 * n**1.5} for n in (10, 20, 50)]
    assert local_widths.exponent(found, "seconds") == pytest.approx(1.5)


def test_the_figure_has_a_line_for_each_radius() -> None:
    names = [f"s/sample at {radius:g}" for radius in local_widths.RADII]
    found = [{"neurons": n, names[0]: 1e-3 * n, names[1]: 1e-2 * n} for n in (10, 20, 50)]
    drawn = ET.fromstring(local_widths.figure(found))
    lines = [each.get("points", "").split() for each in drawn if each.tag.endswith("polyline")]
    assert [len(line) for line in lines if len(line) > 2] == [3, 3]
    texts = [each.text or "" for each in drawn if each.tag.endswith("text")]
    assert sum("to the power of 1.00" in text for text in texts) == 2


def test_an_adversarial_input_is_as_far_as_is_said() -> None:
    """Of a linear network: the distance to a hyperplane, which attacks come close to from above."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    x = torch.rand(5, 1, 28, 28)
    logits = model(x).detach()
    y = logits.argmax(1)
    weight = model[1].weight.detach()
    gaps = logits.gather(1, y[:, None]) - logits
    apart = (weight[y][:, None] - weight[None]).norm(dim=2)
    exact = (gaps / apart.clamp_min(1e-9)).scatter(1, y[:, None], torch.inf).amin(1).double()
    found = smallest_adversarial(model, x, y)
    assert (found >= exact * (1 - 1e-4)).all()
    assert found == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("filters", [2, 5])
def test_neurons_are_the_activations(filters: int) -> None:
    value, count = torch.zeros(1, 1, 28, 28), 0
    for layer in network(filters):
        value = layer(value)
        count += value.numel() * isinstance(layer, torch.nn.ReLU)
    assert local_widths.neurons(filters) == count
