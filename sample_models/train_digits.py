"""Train the smallest sample model on `digits.npz`, in the ordinary way; write its state dict and its graph.

    python sample_models/train_digits.py

Six seconds of one CPU core. Needs torch, onnx and click.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import click
import onnx
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from sample_models import mnist
from sample_models.chains import chain

HERE = Path(__file__).parent
NAME, SHAPE = "digits", (1, 8, 8)
RESULTS = ("first", "hidden1", "second", "hidden2", "features", "third", "hidden3", "logits")
EPOCHS, BATCH, RATE, DECAY, SEED = 40, 50, 0.05, 5e-4, 0


def network() -> nn.Sequential:
    """Images [batch, 1, 8, 8] in [0, 1] -> logits [batch, 10]."""
    layers = {
        "conv1": nn.Conv2d(1, 16, 3, padding=1),
        "relu1": nn.ReLU(),
        "conv2": nn.Conv2d(16, 32, 3, stride=2, padding=1),
        "relu2": nn.ReLU(),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(32 * 4 * 4, 64),
        "relu3": nn.ReLU(),
        "fc2": nn.Linear(64, 10),
    }
    return nn.Sequential(OrderedDict(layers))


def trained(images: Tensor, labels: Tensor) -> nn.Sequential:
    """By cross-entropy, SGD and weight decay: nothing here is about robustness.

    Args:
        images: uint8 [n, 1, 8, 8].
        labels: int64 [n].
    """
    torch.manual_seed(SEED)
    model = network()
    optimiser = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=DECAY)
    steps = EPOCHS * (len(images) // BATCH)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = nn.functional.cross_entropy(model(images[chosen].float() / 255), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rates.step()
    return model


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of uint8 images that are classified rightly."""
    return float((model(images.float() / 255).argmax(1) == labels).double().mean())


@click.command()
@click.option("--data", default=HERE / "digits.npz", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--out", default=HERE, type=click.Path(file_okay=False, path_type=Path))
def main(data: Path, out: Path) -> None:
    """Train on the digits of DATA, and write digits.pt and digits.onnx to OUT."""
    torch.set_num_threads(1)
    model = trained(*mnist.load(data, "train"))
    click.echo(f"test accuracy: {accuracy(model, *mnist.load(data, 'test')):.2%}")
    out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out / f"{NAME}.pt")
    onnx.save(chain(model, NAME, SHAPE, RESULTS), out / f"{NAME}.onnx")


if __name__ == "__main__":
    main()
