"""Large safetensors files that take no room: holes, but for a few tensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HOLES = 10


def sparse_safetensors(path: Path, size: int, seed: int = 0) -> Path:
    """A file of about so many bytes: two small layers among large ones of zeros."""
    random = np.random.default_rng(seed)
    small = {f"a.{index}.weight": random.standard_normal((8, 4, 3, 3), np.float32) for index in range(2)}
    side = int((size / 4 / HOLES) ** 0.5)
    shapes = {f"z.{index}.weight": (side, side) for index in range(HOLES)}
    ordered: dict[str, tuple[int, ...]] = {"a.0.weight": (8, 4, 3, 3), **shapes, "a.1.weight": (8, 4, 3, 3)}
    header, places, position = {}, {}, 0
    for name, shape in ordered.items():
        end = position + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [position, end]}
        places[name], position = position, end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + position)
        for name, values in small.items():
            file.seek(8 + len(text) + places[name])
            file.write(values.tobytes())
    return path
