"""Trainings that are interrupted, and disks that are full."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import torch
from torch import nn

from benchmarks import resumable
from benchmarks.resumable import Training, kept, needed


class StopError(Exception):
    """As if by the user."""


def trained(folder: Path, *, interrupted_at: int | None = None, rate: float = 0.1) -> dict[str, torch.Tensor]:
    """A small model after four epochs with momentum, a schedule and random inputs."""
    torch.manual_seed(3)
    model = nn.Linear(4, 2)
    optimiser = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.5)
    generator = torch.Generator().manual_seed(5)

    def epoch(number: int) -> None:
        for step in range(3):
            if number == interrupted_at and step == 1:
                raise StopError
            loss = model(torch.randn(8, 4, generator=generator)).square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()

    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    Training(
        folder=folder, name="run", settings={"rate": rate}, epochs=4, parts=parts, generator=generator
    ).run(epoch)
    return model.state_dict()


def test_an_interrupted_training_ends_like_a_whole_one(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    for at in (1, 3):
        with pytest.raises(StopError):
            trained(tmp_path / "parts", interrupted_at=at)
    resumed = trained(tmp_path / "parts")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert torch.equal(trained(tmp_path / "parts", interrupted_at=0)["weight"], whole["weight"])


def test_other_settings_are_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(click.ClickException, match="other settings"):
        trained(tmp_path, rate=0.2)


def test_results_are_computed_once(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert kept(path, {"seed": 0}, lambda: {"accuracy": 0.5}) == {"accuracy": 0.5}
    assert kept(path, {"seed": 0}, pytest.fail) == {"accuracy": 0.5}
    assert kept(path, {"seed": 1}, lambda: {"accuracy": 0.25}) == {"accuracy": 0.25}


def test_a_full_disk_is_one_line_and_keeps_the_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StopError):
        trained(tmp_path, interrupted_at=2)
    before = (tmp_path / "run.pt").read_bytes()
    save = torch.save
    with monkeypatch.context() as patched:
        patched.setattr(resumable.torch, "save", lambda state, _: save(state, "/dev/full"))
        with pytest.raises(click.ClickException) as refused:
            trained(tmp_path)
    assert "\n" not in refused.value.message
    assert (tmp_path / "run.pt").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "run.pt"]
    assert torch.equal(trained(tmp_path)["weight"], trained(tmp_path / "whole")["weight"])


def test_a_full_disk_stops_a_table(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="No space left"):
        resumable.written(tmp_path / "table.md", lambda _: Path("/dev/full").write_text("x" * 10_000))


def test_a_folder_under_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(click.ClickException, match="cannot write"):
        resumable.written(tmp_path / "file" / "table.md", lambda to: to.write_text("x"))


def test_missing_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException) as refused:
        needed(tmp_path / "mnist10k.npz", "MNIST digits")
    assert refused.value.message.startswith(f"no MNIST digits at {tmp_path}")
    assert "\n" not in refused.value.message
