"""Folders as trainings on many devices leave them, with claims that nobody would make."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Offsets and sizes."""


@dataclass(frozen=True)
class Boxed:
    """A tensor, and the boxes in which it is stored."""

    tensor: torch.Tensor
    boxes: Sequence[Box]

    def parts(self) -> list[tuple[Box, torch.Tensor]]:
        return [
            (box, self.tensor[tuple(slice(o, o + s) for o, s in zip(*box, strict=True))])
            for box in self.boxes
        ]


def halves(tensor: torch.Tensor, axis: int = 0) -> Boxed:
    """In two boxes along an axis, the first one longer where that is odd."""
    cut, shape = -(-tensor.shape[axis] // 2), tensor.shape
    sizes = [
        tuple(size if a == axis else n for a, n in enumerate(shape)) for size in (cut, shape[axis] - cut)
    ]
    offsets = [tuple(at if a == axis else 0 for a in range(len(shape))) for at in (0, cut)]
    return Boxed(tensor, list(zip(offsets, sizes, strict=True)))


def chunked(
    folder: Path, state: Mapping[str, Boxed], change: Callable[[Metadata], None] | None = None
) -> Path:
    """A folder of `torch.distributed.checkpoint`, of two ranks; `change` edits what its metadata say."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"__{rank}_0.distcp": io.BytesIO() for rank in (0, 1)}
    entries: dict[str, Any] = {}
    places: dict[MetadataIndex, _StorageInfo] = {}
    for name, boxed in state.items():
        chunks = []
        for number, ((offsets, sizes), part) in enumerate(boxed.parts()):
            home = list(files)[number % len(files)]
            start = files[home].tell()
            torch.save(part.clone(), files[home])
            chunks.append(ChunkStorageMetadata(offsets=torch.Size(offsets), sizes=torch.Size(sizes)))
            index = MetadataIndex(name, torch.Size(offsets), number)
            places[index] = _StorageInfo(home, start, files[home].tell() - start)
        entries[name] = TensorStorageMetadata(
            properties=TensorProperties(dtype=boxed.tensor.dtype), size=boxed.tensor.shape, chunks=chunks
        )
    metadata = Metadata(state_dict_metadata=entries, storage_data=places)
    if change is not None:
        change(metadata)
    for name, file in files.items():
        (folder / name).write_bytes(file.getvalue())
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    return folder
