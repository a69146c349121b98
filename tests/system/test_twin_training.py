"""What the regularised twin of the sample model is trained with."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import click
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import cross_entropy

from sample_models.certified_loss import certified_loss
from sample_models.muon import Muon, orthogonal
from tests.support.cifar_archives import small_archive

TWIN = "resnet20_regularised"


@pytest.fixture
def scripts(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Importable as they are where one of them is run."""
    monkeypatch.syspath_prepend(root / "sample_models")
    return root / "sample_models"


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.usefixtures("scripts")
def test_blocks_begin_as_contractions_that_do_something() -> None:
    """By their Jacobians at random points."""
    torch.manual_seed(0)
    model = script("train_resnet20_regularised").contracting(
        script("resnet").ResNet(blocks=1, width=4, normalised=False)
    )
    for block, channels in ((model.layer1[0], 4), (model.layer2[0], 4), (model.layer3[0], 8)):
        x = torch.randn(channels, 5, 5)
        jacobian = torch.autograd.functional.jacobian(lambda x, block=block: block(x[None]), x)
        values = torch.linalg.svdvals(jacobian.reshape(-1, x.numel()))
        assert 0.9 < values[0] <= 1 + 1e-5
        assert block.conv2.weight.abs().max() > 0.1


def test_the_loss_is_cross_entropy_at_the_worst_logits() -> None:
    logits, head = torch.randn(6, 4, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    head.requires_grad_()
    labels, bound = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor(2.5, dtype=torch.float64)
    worst = logits.clone()
    for row, y in enumerate(labels):
        for j in range(4):
            worst[row, j] += 0.1 * 2.5 * (head[y] - head[j]).norm().item()
    loss = certified_loss(logits, labels, bound, head, 0.1)
    assert loss.item() == pytest.approx(cross_entropy(worst, labels).item(), rel=1e-12)
    assert loss > certified_loss(logits, labels, bound, head, 0.0) == cross_entropy(logits, labels)
    loss.backward()
    assert head.grad.isfinite().all()
    assert head.grad.any()


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (7, 1), (6, 6)])
def test_all_singular_values_are_near_one(shape: tuple[int, int]) -> None:
    u, _, vt = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = u * torch.linspace(1.0, 0.05, min(shape)) @ vt
    found = u.T @ orthogonal(matrix * 1e-4) @ vt.T
    assert found.diagonal().min() > 0.6
    assert found.diagonal().max() < 1.3
    torch.testing.assert_close(found, torch.diag(found.diagonal()), atol=1e-4, rtol=0)
    assert not orthogonal(torch.zeros(shape)).any()


def test_a_step_is_as_long_as_the_learning_rate() -> None:
    layer = torch.nn.Conv2d(3, 5, 3)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    layer(torch.rand(2, 3, 6, 6)).square().sum().backward()
    Muon(layer.parameters(), 0.01).step()
    for old, new in zip(before, layer.parameters(), strict=True):
        moved = (new.detach() - old).flatten(1) if old.ndim > 1 else (new.detach() - old)[:, None]
        assert 0.006 < torch.linalg.matrix_norm(moved, 2) < 0.013


def test_muon_finds_a_minimum() -> None:
    target = torch.randn(4, 6)
    weight = torch.nn.Parameter(torch.zeros(4, 6))
    optimiser = Muon([weight], 0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, 200)
    for _ in range(200):
        optimiser.zero_grad()
        (weight - target).square().sum().backward()
        optimiser.step()
        schedule.step()
    torch.testing.assert_close(weight.detach(), target, atol=1e-2, rtol=0)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of torch's exporter
@pytest.mark.usefixtures("scripts")
def test_the_script_writes_both_forms_and_says_what_is_certified(tmp_path: Path) -> None:
    archive = small_archive(tmp_path / "archive.npz", 130)
    command = script("train_resnet20_regularised").main
    options = ["--epochs", "1", "--network-effort", "quick", "--out", str(tmp_path / "new")]
    result = CliRunner().invoke(command, [str(archive), *options])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("epoch 1/1: loss ")
    assert "% certified" in lines[-2]
    assert lines[-1].startswith("quartiles of certified radii: ")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {f"{TWIN}.pt", f"{TWIN}.onnx"}
    graph = (tmp_path / "new" / f"{TWIN}.onnx").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in graph


def test_a_missing_archive_is_told_in_a_line(scripts: Path, tmp_path: Path) -> None:
    for name in ("train_resnet20", "train_resnet20_regularised"):
        assert (scripts / f"{name}.py").exists()
        result = CliRunner().invoke(script(name).main, [str(tmp_path / "none.npz")])
        assert result.exit_code == 2
        assert "does not exist" in result.output.splitlines()[-1]


@pytest.mark.usefixtures("scripts")
def test_a_full_disk_leaves_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_proto: onnx.ModelProto, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    (tmp_path / "net.onnx").write_bytes(b"an earlier run's")
    training = script("training")
    monkeypatch.setattr(training, "exported", lambda _: onnx.ModelProto())
    monkeypatch.setattr(onnx, "save", full)
    with pytest.raises(click.ClickException, match="No space left") as caught:
        training.save(torch.nn.Linear(2, 2), tmp_path, "net")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "net.onnx").read_bytes() == b"an earlier run's"
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx", "net.pt"}
    with pytest.raises(click.ClickException, match="cannot write"):
        training.save(torch.nn.Linear(2, 2), tmp_path / "net.pt" / "inside", "net")
