"""Checkpoints as torch.save and torch.jit.save write them since 1.6: zip archives of pickles and storages."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.dtypes import storage_dtype
from convsv_cli.loaders.checkpoint.storages import Span, Storages
from convsv_cli.loaders.checkpoint.unpickler import unpickle
from convsv_cli.loaders.checkpoint.values import Storage
from convsv_cli.loaders.zip_records import STORED, ZipRecord, record_bytes

STATE_DICT_HINT = "save model.state_dict(), or export the model to ONNX"
MAX_PICKLE = 256 << 20
PICKLE = "data.pkl"


def archive_members(records: Mapping[str, ZipRecord]) -> dict[str, ZipRecord]:
    """The records by their names without the archive's own, which PyTorch puts in front of each.

    Raises:
        UnreadableModelError: another kind of archive.
    """
    folders = {name.partition("/")[0] for name in records}
    members = {name.partition("/")[2]: record for name, record in records.items()}
    if "archive_format" in members or any(name.startswith("models/") for name in members):
        raise UnreadableModelError(
            "this is a torch.export archive (.pt2), which convsv does not read yet", hint=STATE_DICT_HINT
        )
    if PICKLE not in members or len(folders) > 1:
        raise UnreadableModelError(
            "this zip file is no PyTorch checkpoint", hint="name a file that torch.save wrote"
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
    return Contents(value=value, storages=Storages(path=path, spans=spans, big_endian=big_endian))


def _referred(reference: Any) -> Storage:
    """A persistent id: ("storage", class, key, location, number of elements)."""
    kind, storage_type, key, _location, size = reference
    dtype = storage_dtype(storage_type)
    if kind != "storage" or dtype is None or type(key) is not str or type(size) is not int:
        raise KeyError
    return Storage(key=key, dtype=dtype, size=size)
