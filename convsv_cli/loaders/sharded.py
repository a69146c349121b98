"""Models in several files with an index, as Hugging Face stores large ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.checkpoint import LOADER as CHECKPOINT
from convsv_cli.loaders.files import MAX_JSON, first_to_recognise, locate, locating, parse_json
from convsv_cli.loaders.loader import Loader, NamedTensors, StoredTensor, state_dict
from convsv_cli.loaders.names import begin_reading, owners
from convsv_cli.loaders.safetensors import LOADER as SAFETENSORS
from convsv_cli.remote.files import opened

KINDS = (SAFETENSORS, CHECKPOINT)
HINT = "download the model again"


@locating
def _shards(path: Path) -> NamedTensors:
    """The tensors that an index names, from the files that it says.

    Raises:
        UnreadableModelError: no index; a shard or a tensor is missing, or there twice.
        UnsafeModelError: a shard lies outside the folder, or is unsafe to read.
    """
    homes, files = _weight_map(path), _parts(path)
    kinds = {kind.name: kind for kind in (_kind(path, name) for name in files)}
    resolved = {name: locate(path, name, "the index") for name in files}
    if len(set(resolved.values())) < len(files):
        raise UnreadableModelError("two shards are the same file", hint=HINT)
    if len(kinds) > 1:
        raise UnreadableModelError("its shards are of several formats", hint=HINT)
    (kind,) = kinds.values()
    listed: dict[str, list[str]] = {name: [] for name in files}
    for tensor, home in homes.items():
        listed[home].append(tensor)
    found: dict[str, StoredTensor] = {}
    notes: list[str] = []
    left_out: list[str] = []
    for name in files:
        shard = kind.tensors(path.parent / name) if kind.tensors else NamedTensors(tensors={}, format="")
        stored = shard.tensors
        begin_reading(sum(len(other) for other in stored if other not in homes), f"tensors in {name!r}")
        further = [other for other, tensor in stored.items() if other not in homes and _scales(other, tensor)]
        homes |= dict.fromkeys(further, name)
        wanted = [*listed[name], *further]
        _check(stored, wanted, homes, name)
        found |= {tensor: _apart(stored[tensor], name) for tensor in wanted}
        notes += [f"{name} {note}" for note in shard.notes]
        left_out += [f"{name} {note}" for note in shard.left_out]
        for other in (other for other in stored if other not in homes):
            could_be = len(stored[other].shape) >= 2
            notes.append(f"{name} also holds {other!r}: not audited (1 tensor)")
            left_out += notes[-1:] if could_be else []
    ordered = {tensor: found[tensor] for tensor in homes}
    return NamedTensors(
        tensors=ordered, format=kind.name, files=files, notes=tuple(notes), left_out=tuple(left_out)
    )


@locating
def _parts(path: Path) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_weight_map(path).values()))


def _weight_map(path: Path) -> dict[str, str]:
    with opened(path) as file:
        index = parse_json(file.read(MAX_JSON + 1), "the index")
    homes = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(homes, dict) or not homes or not all(isinstance(home, str) for home in homes.values()):
        raise UnreadableModelError(
            "this JSON file is not the index of a model",
            hint="pass the .index.json file, or the model",
        )
    return homes


def _scales(name: str, tensor: StoredTensor) -> bool:
    """Whether it may say what the values of a weight stand for, so that it counts even where not listed."""
    return bool(owners(name, is_small=len(tensor.shape) < 2))


def _kind(path: Path, name: str) -> Loader:
    """The format of a shard, which is looked at only where it may be."""
    locate(path, name, "the index")
    kind = first_to_recognise(path.parent / name, KINDS)
    if kind is None:
        raise UnreadableModelError(f"the shard {name!r} is neither safetensors nor a checkpoint", hint=HINT)
    return kind


def _check(
    stored: Mapping[str, StoredTensor], wanted: list[str], homes: Mapping[str, str], name: str
) -> None:
    missing = [tensor for tensor in wanted if tensor not in stored]
    if missing:
        raise UnreadableModelError(f"the shard {name!r} has no tensor {missing[0]!r}", hint=HINT)
    twice = [tensor for tensor in stored if homes.get(tensor, name) != name]
    if twice:
        raise UnreadableModelError(
            f"the tensor {twice[0]!r} is in the shards {homes[twice[0]]!r} and {name!r}",
            hint=HINT,
        )


def _apart(tensor: StoredTensor, shard: str) -> StoredTensor:
    """The tensor with an identity that no tensor of another shard has."""
    return tensor if tensor.identity is None else replace(tensor, identity=(shard, tensor.identity))


LOADER = Loader(
    name="sharded",
    suffixes=(".index.json",),
    description="indices of models in several files (.index.json)",
    signatures={".json": b""},
    load=state_dict(_shards, "pass an index that holds a network"),
    parts=_parts,
    tensors=_shards,
)
