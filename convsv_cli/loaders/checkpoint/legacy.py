"""Checkpoints as torch.save wrote them before 1.6: pickles one after the other, then the raw storages."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.dtypes import ITEM_BYTES, storage_dtype
from convsv_cli.loaders.checkpoint.storages import Span, Storages
from convsv_cli.loaders.checkpoint.unpickler import unpickle
from convsv_cli.loaders.checkpoint.values import Storage

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
PROTO = b"\x80"
TAR_MAGIC, TAR_POSITION = b"ustar", 257
LENGTH = struct.Struct("<q")


def read_legacy(path: Path) -> Contents:
    """The value of the file and where its storages are.

    Raises:
        UnreadableModelError: it is damaged, an older form, or another pickle than torch.save makes.
        UnsafeModelError: see `unpickle`.
    """
    storages: dict[str, Storage] = {}

    def persistent_load(reference: Any) -> Any:
        return _referred(reference, storages)

    with path.open("rb") as file:
        _check_header(file)
        value = unpickle(file, persistent_load)
        keys = unpickle(file, persistent_load)
        return Contents(value=value, storages=Storages(path=path, spans=_spans(file, keys, storages)))


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
            "this is no PyTorch checkpoint", hint="name a file that torch.save or torch.jit.save wrote"
        )
    if unpickle(file, _no_reference) != MAGIC_NUMBER:
        raise UnreadableModelError(
            "this is a plain pickle and no PyTorch checkpoint", hint="save model.state_dict() with torch.save"
        )
    if unpickle(file, _no_reference) != PROTOCOL_VERSION:
        raise UnreadableModelError("a checkpoint of an unknown version", hint="save it again")
    unpickle(file, _no_reference)


def _no_reference(_reference: Any) -> Any:
    raise KeyError


def _referred(reference: Any, storages: dict[str, Storage]) -> Any:
    """A class with its source, of which the class; or a storage, perhaps a view of another."""
    kind, *fields = reference
    if kind == "module":
        return fields[0]
    storage_type, key, _location, size, *view = fields
    dtype = storage_dtype(storage_type)
    if any(view):
        raise UnreadableModelError(
            "a checkpoint with views of storages, as PyTorch 0.x wrote it", hint="load it and save it again"
        )
    if kind != "storage" or dtype is None or type(key) is not str or type(size) is not int:
        raise KeyError
    return storages.setdefault(key, Storage(key=key, dtype=dtype, size=size))


def _spans(file: IO[bytes], keys: Any, storages: dict[str, Storage]) -> dict[str, Span]:
    """Each storage is its number of elements and then its bytes, in the order of `keys`."""
    if not isinstance(keys, list) or len(keys) != len(set(map(str, keys))):
        raise _cut_off()
    position, end = file.tell(), file.seek(0, 2)
    spans: dict[str, Span] = {}
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
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
    return UnreadableModelError("the file is damaged: its storages are not whole", hint="download it again")
