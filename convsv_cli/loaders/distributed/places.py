"""Where the chunks of a distributed checkpoint are, and their values, each as torch.save wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.checkpoint.archives import PICKLE, archive_members, read_pickle
from convsv_cli.loaders.checkpoint.values import Record, Tensor, as_shape
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.safetensors import LOADER as SAFETENSORS
from convsv_cli.loaders.zip_records import zip_records
from convsv_cli.remote.files import opened

HINT = "save the checkpoint again"
ZIP = b"PK\x03\x04"
Index = tuple[str, tuple[int, ...] | None]
"""The name of a tensor in full, and the offsets of a chunk of it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a chunk is: so many bytes of a file, and how they are encoded; empty for not."""

    file: str
    start: int
    length: int
    encoded: str


def saved(path: Path, name: str, place: Place) -> StoredTensor | None:
    """The tensor at a place, where there is one."""
    with opened(path) as file:
        file.seek(place.start)
        zipped = file.read(len(ZIP)) == ZIP
    if not zipped:
        return SAFETENSORS.tensors(path).tensors.get(name) if SAFETENSORS.tensors else None
    members = archive_members(zip_records(path, range(place.start, place.start + place.length)))
    contents = read_pickle(path, members, PICKLE, "data")
    return contents.stored({name: contents.value})[name] if isinstance(contents.value, Tensor) else None


def place_of(key: Any, value: Any) -> tuple[Index, Place]:
    """Where a chunk is, by its `MetadataIndex`, which is an object and so the argument of a key."""
    index = key.args[0] if isinstance(key, Record) and isinstance(key.args, tuple) and key.args else None
    if not isinstance(index, Record) or not isinstance(value, Record):
        raise damaged("a chunk without a name")
    name, offsets = index.attributes.get("fqn"), index.attributes.get("offset")
    said = value.attributes
    file, start, length = (said.get(what) for what in ("relative_path", "offset", "length"))
    if (
        not isinstance(name, str)
        or not isinstance(file, str)
        or type(start) is not int
        or type(length) is not int
    ):
        raise damaged("a chunk without a place")
    ways = said.get("transform_descriptors")
    named = [way[:20] for way in ways[:2] if isinstance(way, str)] if isinstance(ways, (list, tuple)) else []
    encoded = ", ".join(named) or ("unknown" if ways else "")
    place = Place(file=file, start=start, length=length, encoded=encoded)
    return (name, None if offsets is None else shape_of(offsets)), place


def shape_of(value: Any) -> tuple[int, ...]:
    """A shape, offsets or sizes."""
    try:
        return as_shape(value)
    except TypeError as error:
        raise damaged("a shape that is none") from error


def damaged(why: str) -> UnreadableModelError:
    """The error that says so."""
    return UnreadableModelError(f"the metadata of the checkpoint are damaged: {why}", hint=HINT)
