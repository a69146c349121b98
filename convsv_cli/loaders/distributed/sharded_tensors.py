"""States of FSDP in a file for each rank: `ShardedTensor`s and `DTensor`s, whose shards are chunks.

A `ShardedTensor` says where each of its shards is. A `DTensor` along one axis of devices says along which of
its own axes it is split: then the shards follow each other by rank. Flattened parameters (LOCAL_STATE_DICT)
have lost their shapes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.reading import unwrapped
from convsv_cli.loaders.checkpoint.values import Global, Record, Tensor, as_shape, dtype_name
from convsv_cli.loaders.distributed.chunks import Chunk, assembled
from convsv_cli.loaders.distributed.joined import along, joined
from convsv_cli.loaders.loader import NamedTensors, StoredTensor

SHARDED, DTENSOR = "sharded_tensor.api.ShardedTensor", ".DTensor"
LEAST, LARGEST = 3, 1 << 62
FLAT = "holds flattened parameters, without their shapes: save a sharded or a full state"
MATRIX = 2
OTHERWISE = "a tensor in shards that convsv does not read"


def assembled_state(files: Sequence[tuple[str, Contents]]) -> NamedTensors:
    """The tensors of a state of which each rank has a file.

    Args:
        files: by rank, with their names.

    Raises:
        UnreadableModelError: ranks have different tensors.
        UnsafeModelError, LimitError: they claim more than they hold.
    """
    states = [contents.value if isinstance(contents.value, dict) else {} for _, contents in files]
    keys = [key for key, value in states[0].items() if isinstance(key, str) and _class(value)]
    if any(key not in state for state in states for key in keys):
        raise UnreadableModelError("its ranks have different tensors", hint="copy the whole folder")
    shards = {key: _tensor(key, files) for key in keys}
    rest = [dict(_rest(name, contents, shards)) for name, contents in files]
    tensors, notes = joined(rest, [f"rank{number}" for number in range(len(rest))])
    found = {**shards, **tensors}
    if all(len(tensor.shape) < MATRIX for tensor in found.values()):
        notes.append(FLAT)
    return NamedTensors(tensors=found, format="", notes=tuple(notes), left_out=tuple(notes))


def _rest(name: str, contents: Contents, shards: Collection[Any]) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors of a rank's file that are in no shards."""
    value = contents.value
    left = {k: v for k, v in value.items() if k not in shards} if isinstance(value, dict) else value
    for key, tensor in unwrapped(left, contents.stored).tensors.items():
        yield key, replace(tensor, identity=(name, tensor.identity))


def _class(value: Any) -> str:
    """The class of a tensor in shards; empty for anything else."""
    maker = (
        value.args[0] if isinstance(value, Record) and isinstance(value.args, tuple) and value.args else None
    )
    name = str(maker) if isinstance(maker, Global) else ""
    return name if name.endswith((SHARDED, DTENSOR)) else ""


def _tensor(key: str, files: Sequence[tuple[str, Contents]]) -> StoredTensor:
    """The tensor of which each rank has shards."""
    values = [contents.value[key] for _, contents in files]
    shape, dtype = _described(values[0])
    found = [
        (place, replace(contents.stored({key: tensor})[key], usage=None), name)
        for (name, contents), value in zip(files, values, strict=True)
        for place, tensor in _shards(value)
    ]
    parts = [replace(part, identity=(name, part.identity)) for _, part, name in found]
    places = [place for place, _, _ in found]
    why = next((part.unusable for part in parts if part.unusable), "")
    none = StoredTensor(shape=shape, dtype=dtype, read=lambda: torch.zeros(0), unusable=why or OTHERWISE)
    if why or any(part.dtype != dtype for part in parts):
        return none
    boxes = [(place, part) for place, part in zip(places, parts, strict=True) if isinstance(place, tuple)]
    if boxes and len(boxes) == len(parts):
        return assembled(shape, dtype, [_chunk(at, part) for at, part in boxes])
    axes = {place for place in places if not isinstance(place, tuple)}
    if len(axes) != 1 or boxes:
        return none
    (axis,) = axes
    whole = parts[0] if axis is None else along(parts, axis) if axis < len(shape) else None
    return whole if whole is not None and whole.shape == shape else none


def _chunk(place: tuple[int, ...], part: StoredTensor) -> Chunk:
    return Chunk(offsets=place, sizes=part.shape, read=part.read, place=part.identity)


def _described(value: Record) -> tuple[tuple[int, ...], str]:
    """Shape and type of the whole: the arguments after the class are the type and the shape."""
    if len(value.args) < LEAST:
        raise UnreadableModelError("a tensor in shards without a shape", hint="save the checkpoint again")
    shape = as_shape(value.args[2])
    if any(not 0 <= n < LARGEST for n in shape) or math.prod(shape) >= LARGEST:
        raise UnsafeModelError("a tensor with an impossible shape")
    return shape, dtype_name(value.args[1]) or "unknown"


def _shards(value: Any) -> Iterator[tuple[tuple[int, ...] | int | None, Tensor]]:
    """The shards of a rank, with their offsets, or the axis along which ranks follow each other, if any."""
    if _class(value).endswith(DTENSOR):
        said = _attributes(value)
        local, spec = said.get("_local_tensor"), said.get("_spec")
        placements = _attributes(spec).get("placements")
        if isinstance(local, Tensor) and isinstance(placements, tuple) and len(placements) == 1:
            axis, kind = _attributes(placements[0]).get("dim"), getattr(placements[0], "name", "")
            if type(axis) is int and axis >= 0 and kind.endswith(".Shard"):
                yield axis, local
            elif kind.endswith(".Replicate"):  # of others, such as sums that are left to do, each has a part
                yield None, local
        return
    shards = value.state[0] if isinstance(value.state, tuple) and value.state else None
    for shard in shards if isinstance(shards, list) else ():
        said = _attributes(shard)
        tensor, offsets = said.get("tensor"), _attributes(said.get("metadata")).get("shard_offsets")
        if isinstance(tensor, Tensor):
            yield as_shape(offsets), tensor


def _attributes(value: Any) -> Mapping[Any, Any]:
    """The attributes of an object, those in slots as well."""
    state = value.state if isinstance(value, Record) else None
    dicts = [part for part in (state if isinstance(state, tuple) else (state,))[:2] if isinstance(part, dict)]
    return {key: item for part in dicts for key, item in part.items()}
