"""Folders of `torch.distributed.checkpoint`: `.metadata` says which chunks make up each tensor, and where.

It is a pickle of dataclasses, read as inert values. Each chunk is what torch.save made of a tensor, within a
file of many, or a tensor of a safetensors file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.checkpoint.optimisers import SLOTS, is_named_for_training
from convsv_cli.loaders.checkpoint.reading import unwrapped
from convsv_cli.loaders.checkpoint.unpickler import unpickle
from convsv_cli.loaders.checkpoint.values import (
    ITEM_BYTES,
    Global,
    Record,
    Storage,
    Tensor,
    dtype_name,
)
from convsv_cli.loaders.distributed.chunks import Chunk, assembled
from convsv_cli.loaders.distributed.places import HINT, Index, Place, damaged, place_of, saved, shape_of
from convsv_cli.loaders.files import locate, locating
from convsv_cli.loaders.loader import NamedTensors, StoredTensor
from convsv_cli.remote.files import opened, size

LARGEST = 1 << 62
OTHERS = "also holds {} that no tensors are, such as {!r}: not read"
ABSENT = "its type {} is none that convsv reads"
ENCODED = "its chunks are encoded ({}), which convsv does not read"
NAMED = 3
"""Parts of a name that says what an optimiser keeps of a parameter: "state", its name, the slot."""


@locating
def tensors_of(path: Path) -> NamedTensors:
    """The named tensors of the network in such a folder; nothing in it is executed.

    Args:
        path: of its `.metadata`.

    Raises:
        UnreadableModelError: it is damaged, or a file is missing.
        UnsafeModelError: it claims more than its files hold, or names files elsewhere.
    """
    metadata = _Metadata(path=path, content=_content(path))
    metadata.check_files()
    found = unwrapped(metadata.tree(), metadata.stored)
    others = metadata.others
    kept = f"{len(others)} value{'s'[: len(others) != 1]}"
    notes = (OTHERS.format(kept, others[0]),) if others else ()
    return replace(found, files=metadata.files, notes=(*found.notes, *notes))


@locating
def parts_of(path: Path) -> tuple[str, ...]:
    """Names of the files that the chunks of its tensors are in.

    Raises:
        UnreadableModelError, UnsafeModelError: as `tensors_of`.
    """
    return _Metadata(path=path, content=_content(path)).files


def _content(path: Path) -> Mapping[Any, Any]:
    with opened(path) as file:
        value = unpickle(file, _no_reference)
    if not isinstance(value, Record) or not value.name.endswith(".metadata.Metadata"):
        raise damaged("it is no Metadata")
    return value.attributes


def _no_reference(_reference: Any) -> Any:
    raise KeyError


@dataclass(frozen=True, kw_only=True)
class _Metadata:
    """What `.metadata` says.

    Attributes:
        path: of it.
        content: the attributes of its `Metadata`.
    """

    path: Path
    content: Mapping[Any, Any]

    @cached_property
    def entries(self) -> dict[str, Record]:
        """What is said of each tensor, by its name in full."""
        return {name: entry for name, entry in self._listed if "chunks" in entry.attributes}

    @cached_property
    def others(self) -> list[str]:
        """Names of what is stored beside tensors, as pickles."""
        return [name for name, entry in self._listed if "chunks" not in entry.attributes]

    @cached_property
    def _listed(self) -> list[tuple[str, Record]]:
        listed = self.content.get("state_dict_metadata")
        if not isinstance(listed, dict):
            raise damaged("they list no tensors")
        if not all(isinstance(name, str) and isinstance(entry, Record) for name, entry in listed.items()):
            raise damaged("an entry has no name")
        return list(listed.items())

    @cached_property
    def places(self) -> dict[Index, Place]:
        """Where chunks are, by the tensor and the offsets."""
        stored = self.content.get("storage_data")
        if not isinstance(stored, dict):
            raise damaged("they do not say where its tensors are")
        return dict(place_of(*pair) for pair in stored.items())

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The files in which chunks of tensors are."""
        return tuple(
            dict.fromkeys(place.file for (name, _), place in self.places.items() if name in self.entries)
        )

    @cached_property
    def lengths(self) -> dict[str, int]:
        """How long each file is."""
        return {name: size(self.path.parent / name) for name in self.files}

    def check_files(self) -> None:
        """See that each file is a regular one of the folder."""
        for name in self.files:
            locate(self.path, name, "the metadata")

    def tree(self) -> dict[Any, Any]:
        """The state as it was saved, in which tensors stand for themselves."""
        planned = self.content.get("planner_data")
        paths = planned if isinstance(planned, dict) else {}
        root: dict[Any, Any] = {}
        for name, entry in self.entries.items():
            *outer, last = _keys(name, paths.get(name))
            inner: Any = root
            for key in outer:
                inner = inner.setdefault(key, {}) if isinstance(inner, dict) else None
            if not isinstance(inner, dict) or last in inner:
                inner, last = root, name
            inner[last] = _tensor(name, entry)
        return root

    def stored(self, tensors: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
        """Tensors of the tree with their values."""
        return {name: self._stored(tensor) for name, tensor in tensors.items()}

    def _stored(self, tensor: Tensor) -> StoredTensor:
        name = tensor.storage.key if tensor.storage else ""
        if tensor.unusable:
            none = StoredTensor(shape=tensor.shape, dtype=tensor.dtype, read=lambda: torch.zeros(0))
            return replace(none, unusable=tensor.unusable)
        chunks, encoded = [], ""
        for offsets, sizes in _boxes(self.entries[name].attributes["chunks"]):
            place = self.places.get((name, offsets))
            if place is not None:
                self._check(name, place, math.prod(sizes) * ITEM_BYTES[tensor.dtype])
                chunks.append(self._chunk(name, tensor.dtype, offsets, sizes, place))
                encoded = encoded or place.encoded
        found = assembled(tensor.shape, tensor.dtype, chunks)
        return replace(found, unusable=ENCODED.format(encoded), identity=None) if encoded else found

    def _check(self, name: str, place: Place, least: int) -> None:
        """See that the file has the chunk, and that this may have so many bytes of values."""
        end = place.start + place.length
        if place.start < 0 or place.length < 0 or end > self.lengths[place.file]:
            raise UnsafeModelError(f"a chunk of {name!r} lies beyond the end of {place.file!r}")
        if least > place.length and not place.encoded:
            raise UnsafeModelError(f"a chunk of {name!r} claims more values than {place.length} bytes hold")

    def _chunk(
        self, name: str, dtype: str, offsets: tuple[int, ...], sizes: tuple[int, ...], place: Place
    ) -> Chunk:
        path = self.path.parent / place.file

        def read() -> torch.Tensor:
            found = saved(path, name, place)
            if found is None or (found.shape, found.dtype) != (sizes, dtype) or found.unusable:
                raise UnreadableModelError(
                    f"a chunk of {name!r} is not what the metadata say", where=str(path), hint=HINT
                )
            return found.read()

        return Chunk(offsets=offsets, sizes=sizes, read=read, place=(place.file, place.start, name, offsets))


def _keys(name: str, path: Any) -> Sequence[Any]:
    """The keys that lead to a tensor in the state; numbers are numbers again."""
    is_path = isinstance(path, (tuple, list)) and path and all(isinstance(key, (str, int)) for key in path)
    keys = [str(key) for key in path] if is_path else [name]
    if is_named_for_training(keys[0]) and len(keys) == 2:
        keys = [keys[0], *_flattened(keys[1])]
    return [int(key) if key.isdecimal() and len(key) < NAMED**2 else key for key in keys]


def _flattened(name: str) -> list[str]:
    """What an optimiser keeps of a parameter, of which the state was flattened: "state.fc.weight.exp_avg"."""
    first, _, rest = name.partition(".")
    parameter, _, slot = rest.rpartition(".")
    return [first, parameter, slot] if first == "state" and slot in SLOTS and parameter else [name]


def _tensor(name: str, entry: Record) -> Tensor:
    """What is said of a tensor; its storage has its name."""
    shape, dtype = shape_of(entry.attributes.get("size")), _dtype(entry.attributes.get("properties"))
    count = math.prod(shape)
    if any(not 0 <= n < LARGEST for n in shape) or count >= LARGEST:
        raise UnsafeModelError(f"the tensor {name!r} has an impossible shape")
    return Tensor(
        shape=shape,
        dtype=dtype or "unknown",
        storage=Storage(key=name, dtype=dtype, size=count),
        stride=shape,
        unusable="" if dtype else ABSENT.format("unknown"),
    )


def _dtype(properties: Any) -> str:
    """The type that is the first of a tensor's properties; empty where that is none."""
    state = properties.state if isinstance(properties, Record) else None
    first = state[0] if isinstance(state, tuple) and state else None
    if isinstance(first, dict):
        first = first.get("dtype")
    found = first if isinstance(first, Global) else None
    return dtype_name(found) or ""


def _boxes(chunks: Any) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Offsets and sizes of each chunk."""
    if not isinstance(chunks, (list, tuple)):
        raise damaged("its chunks are no list")
    for chunk in chunks:
        if not isinstance(chunk, Record):
            raise damaged("a chunk that is none")
        yield shape_of(chunk.attributes.get("offsets")), shape_of(chunk.attributes.get("sizes"))
