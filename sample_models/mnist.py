"""MNIST as uint8 tensors: the 10,000 digits described in the team's DATA.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def load(path: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, 1, 28, 28] and labels int64 [N] of `split`: "train" has 8,000, "test" 2,000."""
    with np.load(path) as archive:
        images, labels = archive[f"x_{split}"], archive[f"y_{split}"].astype(np.int64)
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)
