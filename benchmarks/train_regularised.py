"""Tables 3 and 5 and figure 2 of Singla & Feizi (arXiv 1911.10258), at a smaller scale: an hour of one core.

    python benchmarks/train_regularised.py --data ../shared/data

Trains one ResNet on CIFAR-10 for each seed and beta, and writes docs/training_regularised.{md,svg,json} anew
after each seed. It may be stopped at any time: the same command goes on after the last whole epoch.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import click
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.regularised_figure import figure
from benchmarks.regularised_points import points
from benchmarks.regularised_tables import report
from benchmarks.regularised_training import Run, outcome
from benchmarks.resumable import needed, published
from sample_models import cifar10

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CONVSV_SHARED", ROOT.parent / "shared"))
POSITIVE = click.IntRange(min=1)
FOLDER = click.Path(file_okay=False, path_type=Path)


def numbers(kind: type) -> Any:  # noqa: ANN401
    """A callback for a list of different numbers with commas, in rising order."""

    def parse(_: click.Context, __: click.Parameter, text: str) -> tuple[Any, ...]:
        try:
            found = sorted({kind(each) for each in text.split(",")})
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is no list of numbers with commas") from error
        if not all(0 <= each < math.inf for each in found):
            raise click.BadParameter("each must be 0 or more, and finite")
        return tuple(found)

    return parse


def publish(outcomes: list[dict[str, Any]], out: Path) -> None:
    """Write the page, its figure, and all figures as JSON."""
    plain = [outcome for outcome in outcomes if not outcome["weight_decay"]]
    texts = {
        "json": json.dumps({"runs": outcomes}, indent=1) + "\n",
        "svg": figure(points(plain)),
        "md": report(outcomes),
    }
    published(out, "training_regularised", texts)


@click.command(context_settings={"show_default": True})
@click.option("--data", default=SHARED / "data", type=FOLDER, help="with cifar10_jpeg.npz")
@click.option(
    "--work", default=ROOT / "build" / "regularised", type=FOLDER, help="for what is done, to go on from"
)
@click.option("--out", default=ROOT / "docs", type=FOLDER, help="for the tables")
@click.option("--betas", default="0,0.001,0.01,0.04", callback=numbers(float))
@click.option("--seeds", default="0,1,2", callback=numbers(int))
@click.option(
    "--decay",
    default=0.0,
    type=click.FloatRange(min=0),
    help="train the first seed with this weight decay too",
)
@click.option("--epochs", default=4, type=POSITIVE)
@click.option("--batch", default=128, type=click.IntRange(1, 1000))
@click.option("--blocks", default=3, type=POSITIVE, help="a stage: 3 make a ResNet-20, 5 the paper's 32")
@click.option("--threads", default=1, type=POSITIVE)
def main(
    *,
    data: Path,
    work: Path,
    out: Path,
    betas: tuple[float, ...],
    seeds: tuple[int, ...],
    decay: float,
    epochs: int,
    batch: int,
    blocks: int,
    threads: int,
) -> None:
    """Train with several weights of the regulariser, and write what it does to accuracy and norms."""
    if betas[0] or len(betas) == 1:
        raise click.BadParameter("there must be 0, and another to compare with it", param_hint="--betas")
    torch.set_num_threads(threads)
    archive = needed(data / "cifar10_jpeg.npz", "CIFAR-10")
    train, test = (cifar10.load(archive, split) for split in ("train", "test"))
    columns = [(seed, 0.0) for seed in seeds]
    if decay:
        columns.append((seeds[0], decay))
    outcomes: list[dict[str, Any]] = []
    for seed, weight_decay in columns:
        for beta in betas:
            run = Run(
                beta=beta, seed=seed, weight_decay=weight_decay, epochs=epochs, batch=batch, blocks=blocks
            )
            outcomes.append(outcome(run, train, test, work))
        publish(outcomes, out)


if __name__ == "__main__":
    main()
