"""What a certification of the network's graph proves about single images."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convsv_cli import certify

MEMORY = 2**31
"""Bytes: a search on the torus of an image of 32x32 keeps more than a file of this size may ask for."""


def certified_radii(graph: Path, images: Tensor, labels: Tensor, *, effort: str = "normal") -> Tensor:
    """Euclidean radii in pixels of [0, 1] within which the predicted class cannot change: float64 [n].

    Args:
        graph: of a network from such pixels to logits.
        images: uint8 [n, channels, height, width].
        labels: int64 [n].
        effort: how long is searched for a small bound of the network, as `--network-effort` has it.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.npz"
        np.savez(data, x=images.numpy(), y=labels.numpy())
        found = certify(
            graph, data, network_effort=effort, effort="none", arithmetic="real", memory_limit=MEMORY
        )
    return torch.tensor([sample.radius for sample in found.samples], dtype=torch.float64)
