"""The two forms of a checkpoint file, with the value of its pickle and where its storages are.

Since 1.6, torch.save and torch.jit.save write zip archives of pickles and storages; before, torch.save wrote
pickles one after the other, then the raw storages.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.checkpoint.contents import Contents, Span
from convsv_cli.loaders.checkpoint.unpickler import unpickle
from convsv_cli.loaders.checkpoint.values import ITEM_BYTES, Storage, storage_dtype
from convsv_cli.loaders.zip_records import STORED, ZipRecord, record_bytes
from convsv_cli.remote.files import opened

MAX_PICKLE = 256 << 20
PICKLE = "data.pkl"
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
PROTO = b"\x80"
TAR_MAGIC, TAR_POSITION = b"ustar", 257
LENGTH = struct.Struct("<q")
MOST_FIELDS = 6
"""Of a reference to a storage; the last is a view, or None."""


def archive_members(records: Mapping[str, ZipRecord]) -> dict[str, ZipRecord]:
    """The records by their names without the archive's own, which PyTorch puts in front of each.

    Raises:
        UnreadableModelError: another kind of archive.
    """
    folders = {name.partition("/")[0] for name in records}
    members = {name.partition("/")[2]: record for name, record in records.items()}
    if "archive_format" in members or any(name.startswith("models/") for name in members):
        raise UnreadableModelError(
            "this is a torch.export archive under another name", hint="give it a name that ends in .pt2"
        )
    if PICKLE not in members or len(folders) > 1:
        raise UnreadableModelError(
            "this zip file is not a PyTorch checkpoint", hint="pass a file that torch.save wrote"
        )
    return members


def read_pickle(path: Path, members: Mapping[str, ZipRecord], name: str, folder: str) -> Contents:
    """The value of one pickle of the archive, its storages being the records of `folder`.

    Raises:
        UnsafeModelError: records that are compressed; and see `unpickle`.
        UnreadableModelError: it is damaged.
    """
    prefix = f"{folder}/"
    storages = {key.removeprefix(prefix): record for key, record in members.items() if key.startswith(prefix)}
    for record in (members[name], *storages.values()):
        if record.method != STORED:
            raise UnsafeModelError(f"the record {record.name!r} is compressed, which PyTorch never does")
    value = unpickle(io.BytesIO(record_bytes(path, members[name], MAX_PICKLE)), _referred)
    spans = {key: Span(start=record.start, length=record.length) for key, record in storages.items()}
    big_endian = "byteorder" in members and record_bytes(path, members["byteorder"], 64).strip() == b"big"
    return Contents(value=value, path=path, spans=spans, big_endian=big_endian)


def _referred(reference: Any) -> Storage:
    """A persistent id: ("storage", class, key, location, number of elements)."""
    kind, storage_type, key, _location, size = reference
    return _storage(kind, storage_type, key, size)


def _storage(kind: Any, storage_type: Any, key: Any, size: Any) -> Storage:
    dtype = storage_dtype(storage_type)
    if kind != "storage" or dtype is None or type(key) is not str or type(size) is not int:
        raise KeyError
    return Storage(key=key, dtype=dtype, size=size)


def read_legacy(path: Path) -> Contents:
    """The value of the file and where its storages are.

    Raises:
        UnreadableModelError: it is damaged, an older form, or another pickle than torch.save makes.
        UnsafeModelError: see `unpickle`.
    """
    storages: dict[str, Storage] = {}

    def persistent_load(reference: Any) -> Any:
        return _referred_before(reference, storages)

    with opened(path) as file:
        _check_header(file)
        value = unpickle(file, persistent_load)
        keys = unpickle(file, persistent_load)
        return Contents(value=value, path=path, spans=_spans(file, keys, storages))


def _check_header(file: IO[bytes]) -> None:
    """Magic number, version and a description of the machine, each a pickle of its own."""
    head = file.read(TAR_POSITION + len(TAR_MAGIC))
    file.seek(0)
    if head.endswith(TAR_MAGIC) and len(head) > TAR_POSITION:
        raise UnreadableModelError(
            "this is a checkpoint of PyTorch 0.1 (a tar file), which convsv does not read",
            hint="load it with PyTorch and save model.state_dict() again",
        )
    if not head.startswith(PROTO):
        raise UnreadableModelError(
            "this is not a PyTorch checkpoint", hint="pass a file that torch.save or torch.jit.save wrote"
        )
    if unpickle(file, _no_reference) != MAGIC_NUMBER:
        raise UnreadableModelError(
            "this is a plain pickle, not a PyTorch checkpoint", hint="save model.state_dict() with torch.save"
        )
    if unpickle(file, _no_reference) != PROTOCOL_VERSION:
        raise UnreadableModelError("a checkpoint of an unknown version", hint="save it again")
    unpickle(file, _no_reference)


def _no_reference(_reference: Any) -> Any:
    raise KeyError


def _referred_before(reference: Any, storages: dict[str, Storage]) -> Any:
    """A class, without the source that is stored with it; or a storage, perhaps a view of another."""
    kind, *fields = reference[:MOST_FIELDS]
    if kind == "module":
        return fields[0]
    storage_type, key, _location, size, *view = fields
    if any(part is not None for part in view):
        raise UnreadableModelError(
            "a checkpoint with views of storages, as PyTorch 0.x wrote it", hint="load it and save it again"
        )
    return storages.setdefault(key, _storage(kind, storage_type, key, size))


def _spans(file: IO[bytes], keys: Any, storages: dict[str, Storage]) -> dict[str, Span]:
    """Each storage is its number of elements and then its bytes, in the order of `keys`."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _cut_off()
    if len(keys) != len(set(keys)):
        raise _cut_off()
    position, end = file.tell(), file.seek(0, 2)
    spans: dict[str, Span] = {}
    for key in keys:
        storage = storages.get(key)
        if storage is None or position + LENGTH.size > end:
            raise _cut_off()
        file.seek(position)
        (size,) = LENGTH.unpack(file.read(LENGTH.size))
        length = size * (ITEM_BYTES[storage.dtype] if storage.dtype else 1)
        position += LENGTH.size
        if size != storage.size or size < 0 or position + length > end:
            raise _cut_off()
        spans[key] = Span(start=position, length=length)
        position += length
    return spans


def _cut_off() -> UnreadableModelError:
    return UnreadableModelError("the file is damaged: its storages are incomplete", hint="download it again")
