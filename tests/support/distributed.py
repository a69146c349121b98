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


def described(state: Mapping[str, Boxed]) -> tuple[Metadata, dict[str, bytes]]:
    """What `torch.distributed.checkpoint` says of a state, and the files of two ranks that hold it."""
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
    return metadata, {name: file.getvalue() for name, file in files.items()}


def chunked(
    folder: Path, state: Mapping[str, Boxed], change: Callable[[Metadata], None] | None = None
) -> Path:
    """A folder of such a state; `change` edits what its metadata say."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata, files = described(state)
    if change is not None:
        change(metadata)
    for name, data in {**files, ".metadata": pickle.dumps(metadata)}.items():
        (folder / name).write_bytes(data)
    return folder


State = Mapping[str, torch.Tensor]
Edit = Callable[[str, dict[str, Any]], None]
"""Changes what a file of this name is to hold."""


def _write(folder: Path, name: str, value: dict[str, Any], edit: Edit | None) -> None:
    if edit is not None:
        edit(name, value)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, folder / name)


def zero(
    folder: Path,
    groups: Sequence[State],
    *,
    stage: int,
    ranks: int = 2,
    frozen: State | None = None,
    buffers: State | None = None,
    edit: Edit | None = None,
) -> Path:
    """What DeepSpeed saves with ZeRO, by the layout of its files, in a tag's folder."""
    frozen, buffers = frozen or {}, buffers or {}
    whole = {name: value for group in (*groups, frozen, buffers) for name, value in group.items()}
    home = folder / "global_step7"
    for rank in range(ranks):
        model = {
            "module": {n: v.half() if stage < 3 else v.new_zeros(0) for n, v in whole.items()}
            | dict(buffers),
            "buffer_names": list(buffers),
            "param_shapes": [{name: value.shape for name, value in group.items()} for group in groups],
            "frozen_param_shapes": {name: value.shape for name, value in frozen.items()},
            "frozen_param_fragments": {
                n: _share(v, rank, ranks) if stage == 3 else v for n, v in frozen.items()
            },
            "shared_params": {"tied.weight": next(iter(groups[0]))},
        }
        if stage == 3 or not rank:
            prefix = f"zero_pp_rank_{rank}_" * (stage == 3)
            _write(home, f"{prefix}mp_rank_00_model_states.pt", model, edit)
        kept: dict[str, Any] = {"zero_stage": stage, "partition_count": ranks}
        if stage == 3:
            shares = [[_share(value, rank, ranks) for value in group.values()] for group in groups]
            kept["fp32_flat_groups"] = [torch.cat(group) for group in shares]
        else:
            flat = [torch.cat([value.reshape(-1) for value in group.values()]) for group in groups]
            padded = [torch.cat([v, torch.full((-len(v) % (2 * ranks),), 99.0)]) for v in flat]
            kept["single_partition_of_fp32_groups"] = [v.chunk(ranks)[rank].clone() for v in padded]
        _write(home, f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt", {"optimizer_state_dict": kept}, edit)
    (folder / "latest").write_text("global_step7\n")
    return folder


def _share(value: torch.Tensor, rank: int, ranks: int) -> torch.Tensor:
    """A rank's equal share of all values, padded at the end."""
    flat = value.reshape(-1)
    size = -(-len(flat) // ranks)
    return torch.cat([flat, torch.full((size * ranks - len(flat),), 99.0)])[rank * size :][:size].clone()


def megatron(
    folder: Path,
    state: State,
    axes: Mapping[str, int],
    *,
    ranks: int = 2,
    stages: int = 1,
    edit: Edit | None = None,
) -> Path:
    """What Megatron saves: of each tensor that has an axis, each rank has a part along it."""
    home = folder / "iter_0000010"
    for rank in range(ranks):
        own = {n: v.chunk(ranks, axes[n])[rank].clone() if n in axes else v for n, v in state.items()}
        for stage in range(stages):
            name = f"mp_rank_{rank:02}" + f"_{stage:03}" * (stages > 1)
            value = {
                "model": {n: v + stage for n, v in own.items()},
                "iteration": 10,
                "checkpoint_version": 3.0,
            }
            _write(home, f"{name}/model_optim_rng.pt", value, edit)
    (folder / "latest_checkpointed_iteration.txt").write_text("10")
    return folder
