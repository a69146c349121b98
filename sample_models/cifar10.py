"""CIFAR-10 as uint8 tensors, decoded from the JPEG archive described in the team's DATA.md."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PAD = 4


def load(path: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, 3, 32, 32] and labels int64 [N] of `split` ("train" or "test")."""
    with np.load(path) as archive:
        data = archive[f"{split}_jpeg"].tobytes()
        offsets = archive[f"{split}_offsets"].tolist()
        labels = torch.from_numpy(archive[f"{split}_labels"].astype(np.int64))
    records = (data[a:b] for a, b in itertools.pairwise(offsets))
    images = np.stack([np.asarray(Image.open(io.BytesIO(r)).convert("RGB")) for r in records])
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels


def augmented_batches(
    images: Tensor, labels: Tensor, size: int, generator: torch.Generator, pad: int = PAD
) -> Iterator[tuple[Tensor, Tensor]]:
    """One shuffled epoch of full batches, float in [0, 1]: random crops of padded images, flips."""
    order = torch.randperm(len(images), generator=generator)
    padded = torch.nn.functional.pad(images, (pad,) * 4)
    window = torch.arange(images.shape[-1])
    for index in order.split(size):
        if len(index) < size:
            return
        shift = torch.randint(0, 2 * pad + 1, (2, size, 1), generator=generator)
        rows, columns = window + shift[0], window + shift[1]
        flip = torch.rand(size, 1, generator=generator) < 0.5
        columns = torch.where(flip, columns.flip(1), columns)
        batch = padded[index[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        yield batch.permute(0, 3, 1, 2).float() / 255, labels[index]
