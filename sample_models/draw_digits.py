"""Draw the digits that the smallest sample model is trained on and tested on, and write them to `digits.npz`.

    python sample_models/draw_digits.py

Each is a few strokes, turned, sheared, moved and stretched at random, with a pen of random width, on paper
that is not clean. One second of one CPU core. Needs numpy and click.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

HERE = Path(__file__).parent
Points = NDArray[np.float64]
TRAIN, TEST, SEED = 1500, 300, 0
SIZE = 8
STROKES: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = (
    (((0.5, 0.0), (0.15, 0.2), (0.15, 0.8), (0.5, 1.0), (0.85, 0.8), (0.85, 0.2), (0.5, 0.0)),),
    (((0.3, 0.2), (0.55, 0.0), (0.55, 1.0)),),
    (((0.15, 0.2), (0.5, 0.0), (0.85, 0.25), (0.15, 1.0), (0.9, 1.0)),),
    (((0.15, 0.1), (0.6, 0.0), (0.8, 0.25), (0.45, 0.45), (0.85, 0.7), (0.55, 1.0), (0.1, 0.9)),),
    (((0.65, 1.0), (0.65, 0.0), (0.1, 0.65), (0.95, 0.65)),),
    (((0.85, 0.0), (0.25, 0.0), (0.2, 0.45), (0.65, 0.4), (0.85, 0.7), (0.55, 1.0), (0.15, 0.9)),),
    (((0.75, 0.0), (0.3, 0.3), (0.15, 0.75), (0.5, 1.0), (0.85, 0.75), (0.5, 0.5), (0.2, 0.65)),),
    (((0.1, 0.0), (0.9, 0.0), (0.4, 1.0)), ((0.35, 0.5), (0.8, 0.5))),
    (
        ((0.5, 0.45), (0.2, 0.2), (0.5, 0.0), (0.8, 0.2), (0.5, 0.45)),
        ((0.5, 0.45), (0.15, 0.75), (0.5, 1.0), (0.85, 0.75), (0.5, 0.45)),
    ),
    (((0.8, 0.35), (0.5, 0.5), (0.2, 0.25), (0.5, 0.0), (0.8, 0.2), (0.75, 0.65), (0.55, 1.0)),),
)
"""Of each digit, lines through these points, (0, 0) at the upper left and (1, 1) at the lower right."""
TURN, SHEAR, STRETCH, MOVE = 0.1, 0.12, 0.08, 0.35
"""Radians, share of the height, share of the size and pixels: standard deviations."""
PEN, INK, DIRT = (0.6, 0.9), (0.85, 1.0), 0.03
"""Half the width of a line in pixels, its darkness, and the standard deviation of the paper's."""


def drawn(digit: int, random: Generator) -> NDArray[np.uint8]:
    """An image [8, 8] of a digit, 0 for paper and 255 for ink."""
    turn, shear = random.normal(0, TURN), random.normal(0, SHEAR)
    stretch = np.exp(random.normal(0, STRETCH, 2)) * (4.4, 5.6)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    placed = np.diag(stretch) @ np.array([[1, 0], [shear, 1]]) @ rotation
    middle = (SIZE - 1) / 2 + random.normal(0, MOVE, 2)
    pixels = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1).reshape(-1, 2)
    lines = [
        (np.subtract(points, 0.5) @ placed + middle)[index : index + 2]
        for points in STROKES[digit]
        for index in range(len(points) - 1)
    ]
    away = np.min([_distances(pixels, start, end) for start, end in lines], axis=0)
    ink = random.uniform(*INK) * np.clip(random.uniform(*PEN) + 0.5 - away, 0, 1)
    shade = np.clip(ink + random.normal(0, DIRT, len(pixels)), 0, 1)
    return np.round(255 * shade).astype(np.uint8).reshape(SIZE, SIZE)


def _distances(points: Points, start: Points, end: Points) -> Points:
    """Of points [n, 2] from the line between two others."""
    along = end - start
    share = np.clip((points - start) @ along / (along @ along), 0, 1)
    return np.linalg.norm(points - start - share[:, None] * along, axis=1)


def both_halves() -> dict[str, NDArray[np.uint8]]:
    """What `digits.npz` has: images [n, 8, 8] and classes [n] to train on and to test on."""
    random = np.random.default_rng(SEED)
    classes = random.permutation(np.arange(TRAIN + TEST) % 10).astype(np.uint8)
    images = np.stack([drawn(digit, random) for digit in classes])
    return {
        "x_train": images[:TRAIN],
        "y_train": classes[:TRAIN],
        "x_test": images[TRAIN:],
        "y_test": classes[TRAIN:],
    }


@click.command()
@click.option("--out", default=HERE / "digits.npz", type=click.Path(dir_okay=False, path_type=Path))
def main(out: Path) -> None:
    """Draw the digits, and write them to OUT."""
    np.savez_compressed(out, **both_halves())


if __name__ == "__main__":
    main()
