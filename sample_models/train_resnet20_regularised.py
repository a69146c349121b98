"""Train the twin of the sample model, whose certified Lipschitz bound proves that predictions are robust.

    python sample_models/train_resnet20_regularised.py ../shared/data/cifar10_jpeg.npz

About 10 minutes of one CPU core with bfloat16. Needs convsv, and torch, onnx, onnxscript, pillow and click.
With `--bound network` the bound that is trained by is that of the network, and not a product over its layers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cifar10
import click
import torch
from certificate import certified_radii
from certified_loss import bound_before_head, certified_loss
from muon import Muon
from resnet import BeforeHead, ResNet
from torch import Tensor, nn
from training import Schedule, logits_of, save, train

from convsv_cli import LipschitzPenalty, NetworkBoundLoss
from convsv_cli.report import EFFORTS

NAME = "resnet20_regularised"
RADIUS = 36 / 255
FIRST_SHARE = 0.01  # of the radius: features are learned before they are made robust
GROWTH = 0.7  # share of the steps in which the radius grows, each time by the same factor
PEAK_LEARNING_RATE = 0.006
LAYERS, NETWORK = "layers", "network"
EVERY = 8  # steps of training that share a pass over the network


def trained(images: Tensor, labels: Tensor, epochs: int, seed: int, bound: str = LAYERS) -> ResNet:
    """Muon on the certified loss; in bfloat16 but for weights, norms and the loss."""
    torch.manual_seed(seed)
    model = quiet(ResNet(normalised=False)).to(memory_format=torch.channels_last)
    before_head = bound_of(model, bound)

    def loss(x: Tensor, y: Tensor, progress: float) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x).float()
        radius = RADIUS * FIRST_SHARE ** max(0.0, 1 - progress / GROWTH)
        return certified_loss(logits, y, before_head(), model.fc.weight, radius)

    optimiser = Muon(model.parameters(), PEAK_LEARNING_RATE)
    schedule = Schedule(optimiser=optimiser, peak=PEAK_LEARNING_RATE, epochs=epochs, seed=seed)
    train(schedule, images, labels, loss)
    return centred(model).to(memory_format=torch.contiguous_format)


def bound_of(model: ResNet, kind: str) -> Callable[[], Tensor]:
    """What gives a bound from pixels to the input of `fc`, an estimate: of `LAYERS` or of the `NETWORK`."""
    if kind == NETWORK:
        return NetworkBoundLoss(BeforeHead(model), torch.zeros(1, 3, 32, 32), every=EVERY)
    penalty = LipschitzPenalty(model)
    return lambda: bound_before_head(penalty.norms(), model.pixel_std)


@torch.no_grad()
def quiet(model: ResNet) -> ResNet:
    """Start with blocks that are their skips, and with a small bound, which is a product over all layers."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain=1.0 if "skip" in name else 0.5)
            nn.init.zeros_(layer.bias)
            if name.endswith(".conv2"):
                nn.init.zeros_(layer.weight)
    return model


@torch.no_grad()
def centred(model: ResNet) -> ResNet:
    """Take off what all logits have in common: no difference of two depends on it, but the bound does."""
    for parameter in model.fc.parameters():
        parameter.sub_(parameter.mean(0))
    return model


def described(model: ResNet, graph: Path, images: Tensor, labels: Tensor, effort: str) -> str:
    """What the model is worth on test images, and what `convsv certify` proves of them."""
    logits = logits_of(model, images)
    radii = certified_radii(graph, images, labels, effort=effort)
    right = logits.argmax(1) == labels
    quartiles = torch.quantile(radii, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return (
        f"test accuracy: {right.double().mean():.2%}, within 36/255: "
        f"{(right & (radii >= RADIUS)).double().mean():.2%} certified\n"
        f"quartiles of certified radii: {', '.join(f'{radius:.3f}' for radius in quartiles)}"
    )


@click.command(context_settings={"show_default": True})
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--epochs", default=10)
@click.option("--seed", default=0)
@click.option("--threads", default=1)
@click.option("--bound", default=LAYERS, type=click.Choice((LAYERS, NETWORK)), help="that is trained by")
@click.option("--network-effort", default="thorough", type=click.Choice(EFFORTS))
@click.option("--out", default=Path(__file__).parent, type=click.Path(file_okay=False, path_type=Path))
def main(
    archive: Path, *, epochs: int, seed: int, threads: int, bound: str, network_effort: str, out: Path
) -> None:
    """Train on ARCHIVE (cifar10_jpeg.npz) and write resnet20_regularised.pt and .onnx to OUT."""
    torch.set_num_threads(threads)
    model = trained(*cifar10.load(archive, "train"), epochs, seed, bound)
    save(model, out, NAME)
    click.echo(described(model, out / f"{NAME}.onnx", *cifar10.load(archive, "test"), network_effort))


if __name__ == "__main__":
    main()
