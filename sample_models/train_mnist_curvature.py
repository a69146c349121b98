"""Train the sample model that is certified by its curvature, on MNIST; write its state dict and its graph.

    python sample_models/train_mnist_curvature.py ../shared/data/mnist10k.npz

A few minutes on one CPU core. Needs torch, onnx and click.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import mnist
import onnx
import torch
from chains import chain
from smooth import Fit, Recipe, prepare
from torch import nn

RECIPE = Recipe(gamma=0.01, epochs=12)
NAME = "mnist_curvature"
RESULTS = ("filtered", "hidden", "features", "logits")


@torch.inference_mode()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of uint8 images that are classified rightly."""
    return float((model(images.float() / 255).argmax(1) == labels).double().mean())


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--threads", default=1, show_default=True)
@click.option("--out", default=Path(__file__).parent, type=click.Path(file_okay=False, path_type=Path))
def main(archive: Path, threads: int, out: Path) -> None:
    """Train on ARCHIVE (mnist10k.npz) and write mnist_curvature.pt and mnist_curvature.onnx to OUT."""
    prepare(threads)
    fit = Fit(RECIPE, *mnist.load(archive, "train"))
    for epoch in range(RECIPE.epochs):
        start = time.perf_counter()
        loss = fit.epoch()
        click.echo(f"epoch {epoch + 1}/{RECIPE.epochs}: loss {loss:.4f}, {time.perf_counter() - start:.0f} s")
    click.echo(f"test accuracy: {accuracy(fit.model, *mnist.load(archive, 'test')):.2%}")
    out.mkdir(parents=True, exist_ok=True)
    torch.save(fit.model.state_dict(), out / f"{NAME}.pt")
    onnx.save(chain(fit.model, NAME, (1, 28, 28), RESULTS), out / f"{NAME}.onnx")


if __name__ == "__main__":
    main()
