"""The benchmark of Table 4 at toy scale: interruptions, over-claims, and what its page says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from benchmarks import curvature_certificates, curvature_training, resumable
from benchmarks.curvature_certificates import beyond, curvatures
from benchmarks.curvature_claims import claims
from benchmarks.curvature_training import Data, judged
from benchmarks.train_curvature import main
from convsv_cli.certification.attack import margins, pgd
from convsv_cli.certification.routes.curvature import curvature_radii
from sample_models.smooth import Fit, Recipe, network

TIMES = ("train seconds", "attack seconds", "certificate seconds", "machine")


class StopError(Exception):
    """As if by the user."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The rougher bound only; and oneDNN, which the benchmark switches off, comes back."""
    monkeypatch.setattr(curvature_certificates, "LARGEST", 0)
    enabled = torch.backends.mkldnn.enabled
    yield
    torch.backends.mkldnn.enabled = enabled


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Digits that are a bright square, at one of ten places."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 64), ("test", 16)):
        labels = np.arange(count) % 10
        images = generator.integers(0, 30, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 + 10 * (label // 5) :, 5 * (label % 5) :][:8, :6] = 220
        arrays |= {f"x_{split}": images, f"y_{split}": labels.astype(np.uint8)}
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "mnist10k.npz", **arrays)
    return folder


def run(data: Path, work: Path, *options: str) -> Result:
    command = ["--data", str(data), "--work", str(work), "--out", str(work / "docs"), "--datasets", "mnist"]
    return CliRunner().invoke(main, [*command, "--gammas", "0,0.01", "--epochs", "3", *options])


def runs(work: Path) -> list[dict[str, object]]:
    """Without what depends on the clock."""
    outcomes = json.loads((work / "docs/training_curvature.json").read_text())["runs"]
    return [{key: each[key] for key in each if key not in TIMES} for each in outcomes]


def test_interrupted_and_resumed_it_writes_the_same_table(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(data, whole).exit_code == 0
    epoch, called = Fit.epoch, []

    def stopping(fit: Fit) -> float:
        called.append(fit)
        if len(called) in (2, 5):
            raise StopError
        return epoch(fit)

    monkeypatch.setattr(Fit, "epoch", stopping)
    assert [type(run(data, parts).exception) for _ in range(3)] == [StopError, StopError, type(None)]
    assert len(called) == 8
    assert runs(parts) == runs(whole)
    assert [each["gamma"] for each in runs(whole)] == [0, 0.01]
    page = (parts / "docs/training_curvature.md").read_text()
    assert page.count("does not hold") == 2
    assert "| 0.01 |" in page
    assert run(data, parts).exit_code == 0
    assert len(called) == 8


def test_an_over_claim_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates as they are withstand the attack; ten times as large they do not."""
    torch.manual_seed(0)
    model = network(1, 28, 7)
    images = torch.randint(256, (16, 1, 28, 28), dtype=torch.uint8)
    y = model(images.float() / 255).argmax(1)
    test = Data(name="noise", train=(images, y), test=(images, y))
    recipe = Recipe(gamma=0.0, epochs=1, epsilon=0.2)
    found = judged(copy.deepcopy(model), test, recipe)
    assert 0 < found["by R"] <= found["by four"] <= found["by norm"] <= found["pgd"] < found["standard"] == 1
    decide = curvature_training.beyond
    monkeypatch.setattr(curvature_training, "beyond", lambda *a: decide(*a[:-1], a[-1] / 10))
    with pytest.raises(click.ClickException, match=r"the attack breaks .* certified at 0\.2"):
        judged(model, test, recipe)


def test_missing_data_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path, tmp_path / "work")
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: no MNIST at {tmp_path}")
    assert result.output.count("\n") == 1


def test_a_full_disk_is_one_line(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save
    monkeypatch.setattr(resumable.torch, "save", lambda state, _: save(state, "/dev/full"))
    result = run(data, tmp_path / "work")
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if not line.startswith("...")]
    assert line.startswith("Error: cannot write")


@pytest.mark.parametrize("option", [["--datasets", "mnist,svhn"], ["--gammas", "0,-1"], ["--gammas", "x"]])
def test_senseless_options_are_refused(data: Path, tmp_path: Path, option: list[str]) -> None:
    assert run(data, tmp_path, *option).exit_code == 2


def test_attacks_of_a_linear_model_succeed_exactly_where_they_can() -> None:
    model = nn.Linear(6, 3)
    x = torch.randn(200, 6)
    y = model(x).argmax(1)
    w = model.weight.detach()
    margin = model(x).detach().gather(1, y[:, None]) - model(x).detach()
    distance = (margin / (w[y][:, None] - w).norm(dim=2)).scatter(1, y[:, None], torch.inf).amin(1)
    moved = pgd(model, x, y, radius=0.5, generator=torch.Generator().manual_seed(0), steps=200, step=0.01)
    assert ((moved - x).norm(dim=1) <= 0.5).all()
    broken = margins(model, moved, y) < 0
    assert not broken[distance > 0.5].any()
    assert broken[distance < 0.48].all()
    assert 0.1 < broken.float().mean() < 0.9


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_what_one_gradient_decides_is_what_the_radii_say(scale: float) -> None:
    model = network(1, 10, 5).double()
    with torch.no_grad():
        model[0].weight *= scale
    x = 2 * torch.rand(80, 1, 10, 10, dtype=torch.float64)
    for bounds in curvatures(model, x.shape[1:]).values():
        radii = curvature_radii(model, x, bounds, rounds=8, steps=5)
        for epsilon in (0.05, 0.2):
            assert torch.equal(beyond(model, x, bounds, epsilon), radii > epsilon)


def outcome(data: str, gamma: float, standard: float, certified: float, images: int) -> dict[str, object]:
    shares = {"by R": certified, "by four": certified, "by norm": certified}
    return {"data": data, "gamma": gamma, "standard": standard, "test images": images} | shares


@pytest.mark.parametrize(
    ("standard", "certified", "images", "holds"),
    [(0.96, 0.9, 2000, True), (0.94, 0.9, 2000, False), (0.96, 0.84, 2000, False), (0.96, 0.9, 100, False)],
)
def test_claims_are_computed(standard: float, certified: float, images: int, *, holds: bool) -> None:
    found = claims(
        [outcome("MNIST", 0.0, 0.99, 0.002, 2000), outcome("MNIST", 0.01, standard, certified, images)]
    )
    assert "(gamma = 0) holds for the paper's bound: 0.20%" in found[1]
    assert ("does not hold" not in found[2]) == holds
