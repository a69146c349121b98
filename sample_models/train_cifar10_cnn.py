"""Train the sample model that local certificates are for, on CIFAR-10; write its state dict and its graph.

    python sample_models/train_cifar10_cnn.py ../shared/data/cifar10_jpeg.npz

About 15 minutes of one CPU core with bfloat16. It may be stopped at any time: the same command goes on after
the last whole epoch. Needs convsv, and torch, onnx, pillow and click.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

import click
import onnx
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.resumable import Clock, Training
from convsv_cli.certification.attack import margins, pgd
from sample_models import cifar10
from sample_models.chains import chain
from sample_models.cnn import Fit, Recipe
from sample_models.replacing import written

ROOT = Path(__file__).resolve().parent.parent
NAME = "cifar10_cnn"
RESULTS = ("conv1", "relu1", "conv2", "relu2", "features", "fc1", "relu3", "logits")
RADIUS = 36 / 255
TOGETHER = 500
FOLDER = click.Path(file_okay=False, path_type=Path)


def trained(images: Tensor, labels: Tensor, recipe: Recipe, work: Path) -> nn.Sequential:
    """After all epochs, less what a file in the folder `work` has of them.

    Args:
        images: uint8 [n, 3, 32, 32].
        labels: int64 [n].
        recipe: of the training.
        work: where each epoch is kept.
    """
    fit, clock = Fit(recipe, images, labels), Clock()

    def epoch(number: int) -> None:
        start = time.process_time()
        loss = fit.epoch()
        clock.seconds += time.process_time() - start
        click.echo(f"epoch {number + 1}/{recipe.epochs}: loss {loss:.4f}, {clock.seconds:.0f} s of CPU")

    Training(
        folder=work,
        name=NAME,
        settings=asdict(recipe) | {"images": len(images)},
        epochs=recipe.epochs,
        parts={**fit.parts, "clock": clock},
        generator=fit.generator,
    ).run(epoch)
    return fit.model.to(memory_format=torch.contiguous_format).eval()


def described(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> str:
    """Shares of uint8 images that are classified rightly, and that an attack leaves so."""
    generator = torch.Generator().manual_seed(seed)
    right, withstood = 0, 0
    for some, y in zip(images.split(TOGETHER), labels.split(TOGETHER), strict=True):
        x = some.float() / 255
        moved = pgd(model, x, y, radius=RADIUS, generator=generator)
        with torch.inference_mode():
            before, after = (margins(model, each, y) > 0 for each in (x, moved))
        right += int(before.sum())
        withstood += int((before & after).sum())
    return (
        f"test accuracy: {right / len(images):.2%}, "
        f"within 36/255: {withstood / len(images):.2%} withstand attacks"
    )


@click.command(context_settings={"show_default": True})
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--epochs", default=Recipe.epochs)
@click.option("--seed", default=Recipe.seed)
@click.option("--threads", default=1)
@click.option("--work", default=ROOT / "build" / NAME, type=FOLDER, help="For each epoch, to go on from.")
@click.option("--out", default=ROOT / "sample_models", type=FOLDER)
def main(archive: Path, *, epochs: int, seed: int, threads: int, work: Path, out: Path) -> None:
    """Train on ARCHIVE (cifar10_jpeg.npz) and write cifar10_cnn.pt and cifar10_cnn.onnx to OUT."""
    torch.set_num_threads(threads)
    model = trained(*cifar10.load(archive, "train"), Recipe(epochs=epochs, seed=seed), work)
    graph = chain(model, NAME, (3, 32, 32), RESULTS)
    written(out / f"{NAME}.pt", lambda path: torch.save(model.state_dict(), path))
    written(out / f"{NAME}.onnx", lambda path: onnx.save(graph, path))
    click.echo(described(model, *cifar10.load(archive, "test"), seed))


if __name__ == "__main__":
    main()
