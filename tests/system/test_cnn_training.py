"""How the sample model that local certificates are for is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import cross_entropy

from sample_models import cnn
from sample_models.train_cifar10_cnn import NAME, main
from tests.support.cifar_archives import small_archive


class StopError(Exception):
    """As if by the user."""


def test_an_attack_goes_as_far_as_it_may_and_raises_the_loss() -> None:
    model = cnn.network()
    x = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    moved = cnn.attacked(model, x, y, 0.2)
    torch.testing.assert_close((moved - x).flatten(1).norm(dim=1), torch.full((6,), 0.2))
    before, after = (cross_entropy(model(each), y, reduction="none") for each in (x, moved))
    assert (after > before).all()


def ran(archive: Path, folder: Path) -> list[str]:
    options = ["--epochs", "2", "--work", str(folder / "work"), "--out", str(folder)]
    result = CliRunner().invoke(main, [str(archive), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_an_interrupted_training_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = small_archive(tmp_path / "archive.npz", 520)
    lines = ran(archive, tmp_path / "whole")
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2", "test accuracy"]
    radius = cnn.Fit._radius

    def stopped(fit: cnn.Fit) -> float:
        if fit._schedule.last_epoch == 3:
            raise StopError
        return radius(fit)

    with monkeypatch.context() as patched:
        patched.setattr(cnn.Fit, "_radius", stopped)
        with pytest.raises(StopError):
            ran(archive, tmp_path / "parts")
    lines = ran(archive, tmp_path / "parts")
    assert lines[0].startswith("epoch 2/2")
    for form in ("pt", "onnx"):
        whole, parts = ((tmp_path / run / f"{NAME}.{form}").read_bytes() for run in ("whole", "parts"))
        assert whole == parts


def test_the_margin_grows_to_its_full_radius() -> None:
    images, labels = torch.zeros(512, 3, 32, 32, dtype=torch.uint8), torch.arange(512) % 10
    recipe = cnn.Recipe(epochs=2)
    fit = cnn.Fit(recipe, images, labels)
    found = [fit._radius()]
    fit.epoch()
    found.append(fit._radius())
    assert found == pytest.approx([recipe.bounded * cnn.FIRST_SHARE, recipe.bounded])
