"""Table 4 of Singla & Feizi (arXiv 1911.10258), at a smaller scale: an hour on one core.

    python benchmarks/train_curvature.py --data ../shared/data

Trains one network for each data set and gamma, certifies and attacks its test images, and writes
docs/training_curvature.{md,json} anew after each. It may be stopped at any time: the same command goes on
after the last whole epoch. It ends with an error where the attack breaks an image that is certified.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.curvature_tables import report
from benchmarks.curvature_training import Data, Images, outcome
from benchmarks.resumable import needed, published
from sample_models import cifar10, mnist
from sample_models.smooth import Recipe, prepare

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CONVSV_SHARED", ROOT.parent / "shared"))
POSITIVE = click.IntRange(min=1)
FOLDER = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set: its file, and how much of it is used unless told otherwise."""

    archive: str
    load: Callable[[Path, str], Images]
    images: int
    test_images: int
    recipe: Recipe


SOURCES = {
    "MNIST": Source(
        archive="mnist10k.npz",
        load=mnist.load,
        images=8000,
        test_images=2000,
        recipe=Recipe(gamma=0.0, epochs=12),
    ),
    "CIFAR-10": Source(
        archive="cifar10_jpeg.npz",
        load=cifar10.load,
        images=10_000,
        test_images=1000,
        recipe=Recipe(gamma=0.0, epochs=3, kernel=8, batch=16, rate=0.002, spread=2.0, rounds=10),
    ),
}


def names(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    """Data sets, with commas, in any case."""
    known = {name.lower(): name for name in SOURCES}
    unknown = [each for each in text.split(",") if each.lower() not in known]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: known are {', '.join(SOURCES)}")
    return tuple(known[each.lower()] for each in text.split(","))


def gammas(_: click.Context, __: click.Parameter, text: str) -> tuple[float, ...]:
    """Different numbers with commas, in rising order."""
    try:
        found = sorted({float(each) for each in text.split(",")})
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no list of numbers with commas") from error
    if not all(0 <= each < math.inf for each in found):
        raise click.BadParameter("each must be 0 or more, and finite")
    return tuple(found)


def opened(name: str, folder: Path, images: int | None, test_images: int | None) -> Data:
    """The first images of the archive."""
    source = SOURCES[name]
    archive = needed(folder / source.archive, name)
    sizes = {"train": images or source.images, "test": test_images or source.test_images}
    train, test = (
        tuple(each[: sizes[split]] for each in source.load(archive, split)) for split in ("train", "test")
    )
    return Data(name=name, train=train, test=test)


def publish(outcomes: list[dict[str, Any]], out: Path) -> None:
    """Write the page, and all figures as JSON."""
    texts = {"json": json.dumps({"runs": outcomes}, indent=1) + "\n", "md": report(outcomes)}
    published(out, "training_curvature", texts)


@click.command(context_settings={"show_default": True})
@click.option("--data", default=SHARED / "data", type=FOLDER, help="with the archives of DATA.md")
@click.option(
    "--work", default=ROOT / "build" / "curvature", type=FOLDER, help="for what is done, to go on from"
)
@click.option("--out", default=ROOT / "docs", type=FOLDER, help="for the table")
@click.option("--datasets", default=",".join(SOURCES), callback=names)
@click.option("--gammas", default="0,0.005,0.01,0.02,0.03", callback=gammas)
@click.option("--epochs", type=POSITIVE, help="other than each data set's own number")
@click.option("--images", type=POSITIVE, help="train on the first, likewise")
@click.option("--test-images", type=POSITIVE, help="certify the first, likewise")
@click.option("--seed", default=0)
@click.option("--threads", default=1, type=POSITIVE)
def main(
    *,
    data: Path,
    work: Path,
    out: Path,
    datasets: tuple[str, ...],
    gammas: tuple[float, ...],
    epochs: int | None,
    images: int | None,
    test_images: int | None,
    seed: int,
    threads: int,
) -> None:
    """Train with several weights of the curvature, and write what is certified then."""
    prepare(threads)
    outcomes: list[dict[str, Any]] = []
    for name in datasets:
        chosen = opened(name, data, images, test_images)
        usual = replace(SOURCES[name].recipe, seed=seed)
        usual = replace(usual, epochs=epochs or usual.epochs)
        for gamma in gammas:
            outcomes.append(outcome(replace(usual, gamma=gamma), chosen, work))
            publish(outcomes, out)


if __name__ == "__main__":
    main()
