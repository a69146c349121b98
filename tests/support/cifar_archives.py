"""Small archives of CIFAR-10's kind."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def small_archive(path: Path, count: int) -> Path:
    """Of random images, as DATA.md describes it."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "test"):
        records = []
        for image in rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8):
            Image.fromarray(image).save(stream := io.BytesIO(), "JPEG")
            records.append(stream.getvalue())
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(records), np.uint8)
        arrays[f"{split}_offsets"] = np.cumsum([0, *map(len, records)])
        arrays[f"{split}_labels"] = rng.integers(0, 10, count)
    np.savez(path, **arrays)
    return path
