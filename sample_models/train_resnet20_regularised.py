"""Train the twin of the sample model, whose certified Lipschitz bound proves that predictions are robust.

    python sample_models/train_resnet20_regularised.py ../shared/data/cifar10_jpeg.npz

About 10 minutes of one CPU core with bfloat16. Needs convsv, and torch, onnx, onnxscript, pillow and click.
"""

from __future__ import annotations

from pathlib import Path

import cifar10
import click
import torch
from certificate import certified_radii
from muon import Muon
from resnet import BasicBlock, ResNet
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from training import Schedule, logits_of, save, train

from convsv_cli import PairBounds, spectral_norm
from convsv_cli.report import EFFORTS

NAME = "resnet20_regularised"
RADIUS = 36 / 255
FIRST_SHARE = 0.01  # of the radius: features are learned before they are made robust
GROWTH = 0.7  # share of the steps in which the radius grows, each time by the same factor
PEAK_LEARNING_RATE = 0.006
SHIFT = 1  # pixels at most by which images are moved: with so few epochs, more is not learned
ROUGH = 16, 8  # positions along an axis, and steps that share a pass over the network
EXACT = None, 12
EXACT_FROM = 0.5  # of the steps: weights find gaps between the frequencies of a small torus


def trained(images: Tensor, labels: Tensor, epochs: int, seed: int) -> ResNet:
    """Muon on cross-entropy at the worst that the bounds allow; in bfloat16 but for weights and bounds."""
    torch.manual_seed(seed)
    model = contracting(ResNet(normalised=False)).to(memory_format=torch.channels_last)
    bounds = PairBounds(model, torch.zeros(1, 3, 32, 32))

    def loss(x: Tensor, y: Tensor, progress: float) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x).float()
        bounds.torus, bounds.every = ROUGH if progress < EXACT_FROM else EXACT
        radius = RADIUS * FIRST_SHARE ** max(0.0, 1 - progress / GROWTH)
        return cross_entropy(logits + radius * bounds()[y], y)

    optimiser = Muon(model.parameters(), PEAK_LEARNING_RATE)
    schedule = Schedule(optimiser=optimiser, peak=PEAK_LEARNING_RATE, epochs=epochs, seed=seed, shift=SHIFT)
    train(schedule, images, labels, loss)
    return centred(model).to(memory_format=torch.contiguous_format)


@torch.no_grad()
def contracting(model: ResNet) -> ResNet:
    """Start with blocks that do something, and have the Lipschitz constant 1 nevertheless.

    x - 2 W'relu(W x) / |W|^2 has the Jacobians 1 - 2 W'D W / |W|^2 with 0 <= D <= 1, symmetric with
    eigenvalues from -1 to 1 (Meunier et al., ICML 2022). A product of layers' norms has 3 for it, the
    propagation of covariances 1. Where channels are added, x is an isometry of the block's input: copies.
    """
    nn.init.orthogonal_(model.conv1.weight)
    for block in (each for each in model.modules() if isinstance(each, BasicBlock)):
        wide, narrow = block.conv1.weight.shape[:2]
        layer = nn.Conv2d(wide, wide, 3, bias=False)
        nn.init.orthogonal_(layer.weight)
        kernel = layer.weight / spectral_norm(layer).upper
        copies = torch.eye(narrow).repeat(wide // narrow, 1) * (narrow / wide) ** 0.5
        block.conv1.weight.copy_(torch.einsum("oikl,ij->ojkl", kernel, copies))
        block.conv2.weight.copy_(-2 * kernel.flip(2, 3).transpose(0, 1))
        if isinstance(block.skip, nn.Sequential):
            block.skip[0].weight.copy_(copies[:, :, None, None])
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
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
@click.option("--epochs", default=8)
@click.option("--seed", default=0)
@click.option("--threads", default=1)
@click.option("--network-effort", default="thorough", type=click.Choice(EFFORTS))
@click.option("--out", default=Path(__file__).parent, type=click.Path(file_okay=False, path_type=Path))
def main(archive: Path, *, epochs: int, seed: int, threads: int, network_effort: str, out: Path) -> None:
    """Train on ARCHIVE (cifar10_jpeg.npz) and write resnet20_regularised.pt and .onnx to OUT."""
    torch.set_num_threads(threads)
    model = trained(*cifar10.load(archive, "train"), epochs, seed)
    save(model, out, NAME)
    click.echo(described(model, out / f"{NAME}.onnx", *cifar10.load(archive, "test"), network_effort))


if __name__ == "__main__":
    main()
