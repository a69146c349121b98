"""Decode the JPEG archive of CIFAR-10 into the .npz file that `convsv certify` reads.

    python sample_models/decode_cifar10.py ../shared/data/cifar10_jpeg.npz cifar10_test.npz

Needs pillow and click.
"""

from __future__ import annotations

from pathlib import Path

import cifar10
import click
import numpy as np


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True)
def main(archive: Path, out: Path, split: str) -> None:
    """Write the images of ARCHIVE, bytes [n, 3, 32, 32], and their classes to OUT."""
    images, labels = cifar10.load(archive, split)
    np.savez(out, x=images.numpy(), y=labels.numpy())
    click.echo(f"{len(images):,} images in {out}")


if __name__ == "__main__":
    main()
