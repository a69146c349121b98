"""Train the sample model: ResNet-20 on CIFAR-10, then write its state dict and its ONNX graph.

    python sample_models/train_resnet20.py ../shared/data/cifar10_jpeg.npz

About 15 minutes on two CPU cores. Needs torch, onnx, onnxscript, pillow and click.
"""

from __future__ import annotations

from pathlib import Path

import cifar10
import click
import torch
from resnet import ResNet
from torch import Tensor
from torch.nn.functional import cross_entropy
from training import Schedule, logits_of, save, train

PEAK_LEARNING_RATE = 0.4
WEIGHT_DECAY = 5e-4


def trained(images: Tensor, labels: Tensor, epochs: int, seed: int) -> ResNet:
    """SGD with Nesterov momentum, in float32."""
    torch.manual_seed(seed)
    model = ResNet().to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=PEAK_LEARNING_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    schedule = Schedule(optimiser=optimiser, peak=PEAK_LEARNING_RATE, epochs=epochs, seed=seed)
    train(schedule, images, labels, lambda x, y, _: cross_entropy(model(x), y))
    return model.to(memory_format=torch.contiguous_format)


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--epochs", default=15, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", default=Path(__file__).parent, type=click.Path(file_okay=False, path_type=Path))
def main(archive: Path, epochs: int, seed: int, out: Path) -> None:
    """Train on ARCHIVE (cifar10_jpeg.npz) and write resnet20.pt and resnet20.onnx to OUT."""
    model = trained(*cifar10.load(archive, "train"), epochs, seed)
    images, labels = cifar10.load(archive, "test")
    hits = logits_of(model, images).argmax(1) == labels
    click.echo(f"test accuracy: {hits.double().mean():.2%}")
    save(model, out, "resnet20")


if __name__ == "__main__":
    main()
