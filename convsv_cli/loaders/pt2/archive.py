"""The archive that torch.export.save writes: JSON descriptions, and weights as raw bytes.

It is a zip file of records that are stored, never compressed, below one folder. Values are mapped from it
when they are asked for.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.files import MAX_JSON, parse_json
from convsv_cli.loaders.loader import StoredTensor, repeats
from convsv_cli.loaders.mapped import strided
from convsv_cli.loaders.zip_records import STORED, ZipRecord, zip_records
from convsv_cli.remote.files import opened
from convsv_cli.remote.files import view as bytes_of

MODELS, WEIGHTS, CONSTANTS = "models/", "data/weights/", "data/constants/"
PICKLED = ("serialized_state_dict.pt", "serialized_state_dict.json")
HINT = "save it again with torch.export.save of torch 2.10 or newer, or export the model to ONNX"
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    9: torch.complex32,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
    28: torch.uint16,
    29: torch.float8_e4m3fn,
    30: torch.float8_e5m2,
    31: torch.float8_e4m3fnuz,
    32: torch.float8_e5m2fnuz,
}
"""By the numbers of torch's export schema."""
STRIDED = 7
MAX_VALUES = 2**60
View = tuple[tuple[int, ...], tuple[int, ...], int]
"""Sizes, strides and offset, counted in values."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An archive with one program.

    Attributes:
        path: the file.
        records: all of them, by name without the archive's folder.
        model: the program's name, usually "model".
    """

    path: Path
    records: dict[str, ZipRecord]
    model: str

    def json(self, name: str) -> Any:  # noqa: ANN401
        """The JSON in a record.

        Raises:
            UnreadableModelError, UnsafeModelError: see `parse_json`.
        """
        return parse_json(self._begin(self.records[name], MAX_JSON + 1), f"the record {name!r}")

    def text(self, name: str, default: str) -> str:
        """The text in a short record; the default where there is none."""
        record = self.records.get(name)
        return default if record is None else self._begin(record, 64).decode("utf-8", "replace").strip()

    def _begin(self, record: ZipRecord, most: int) -> bytes:
        with opened(self.path) as file:
            file.seek(record.start)
            return file.read(min(record.size, most))


def open_archive(path: Path) -> Archive:
    """The archive at `path`.

    Raises:
        UnsafeModelError: see `_records`; or its weights are a pickle, as those of torch 2.8 and older are.
        UnreadableModelError: damaged, no program of torch.export, or not exactly one.
    """
    found = _records(path)
    if any(name in found for name in PICKLED):
        raise UnsafeModelError("its weights are pickled, as torch 2.8 and older stored them", hint=HINT)
    models = [name for name in found if name.startswith(MODELS) and name.endswith(".json")]
    if len(models) != 1:
        held = f"{len(models)} programs of torch.export, not one" if models else "no program of torch.export"
        raise UnreadableModelError(f"this archive holds {held}", hint=HINT)
    archive = Archive(path=path, records=found, model=models[0].removeprefix(MODELS).removesuffix(".json"))
    if archive.text("byteorder", "little") != "little":
        raise UnreadableModelError("its weights are big-endian", hint=HINT)
    return archive


def _records(path: Path) -> dict[str, ZipRecord]:
    """All records by name, without the folder that all names begin with; none of their bytes are read.

    Raises:
        UnsafeModelError: as `zip_records`; or one is compressed, or its name leads out of the folder.
        UnreadableModelError: this is not a zip file, or a damaged one.
    """
    found = [_checked_record(record) for record in zip_records(path).values()]
    if twice := [name for name, count in Counter(record.name for record in found).items() if count > 1]:
        raise UnsafeModelError(f"two records are named {twice[0]!r}")
    return {record.name: record for record in found}


def _checked_record(record: ZipRecord) -> ZipRecord:
    name = record.name
    if record.method != STORED:
        raise UnsafeModelError(f"the record {name!r} is compressed, which torch never writes")
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise UnsafeModelError(f"the record {name!r} has a name that leads out of the file")
    return replace(record, name=name.partition("/")[2] or name)


def stored_tensors(archive: Archive) -> dict[str, StoredTensor]:
    """The weights and then the constants, by the names that the module has them under.

    Raises:
        UnsafeModelError: one is pickled, or claims more values than the file has.
        UnreadableModelError: a list is missing, or says one name twice.
    """
    listed = f"{WEIGHTS}{archive.model}_weights_config.json"
    if listed not in archive.records:
        raise UnreadableModelError("the archive has no list of weights", hint=HINT)
    found = _tensors(archive, listed, WEIGHTS)
    listed = f"{CONSTANTS}{archive.model}_constants_config.json"
    constants = _tensors(archive, listed, CONSTANTS) if listed in archive.records else {}
    twice = found.keys() & constants.keys()
    if twice:
        raise UnreadableModelError(f"the tensor {min(twice)!r} is stored twice", hint=HINT)
    return found | constants


def _tensors(archive: Archive, listed: str, folder: str) -> dict[str, StoredTensor]:
    entries = archive.json(listed)["config"]
    return {name: _stored(archive, name, entry, folder) for name, entry in entries.items()}


def _stored(archive: Archive, name: str, entry: Any, folder: str) -> StoredTensor:  # noqa: ANN401
    if entry["use_pickle"] is not False:
        raise UnsafeModelError(f"the tensor {name!r} is a pickle", hint=HINT)
    meta = entry["tensor_meta"]
    shape, strides = (tuple(whole(size) for size in meta[key]) for key in ("sizes", "strides"))
    offset = whole(meta["storage_offset"])
    dtype = DTYPES.get(meta["dtype"])
    if dtype is None or meta["layout"] != STRIDED:
        reason = "sparse weights, which convsv does not read" if dtype else f"unknown type {meta['dtype']}"
        return StoredTensor(shape=shape, dtype="", read=lambda: torch.empty(0), unusable=reason)
    record = archive.records.get(folder + entry["path_name"])
    if record is None:
        raise UnreadableModelError(f"the tensor {name!r} has no data", hint=HINT)
    _check(name, record, (shape, strides, offset), dtype.itemsize)
    return StoredTensor(
        shape=shape,
        dtype=str(dtype).removeprefix("torch."),
        read=lambda: _read(archive, record, dtype, (shape, strides, offset)),
        unusable=repeats(shape, record.size // dtype.itemsize),
        identity=(record.start, offset, strides) if math.prod(shape) else None,
    )


def whole(size: Any) -> int:  # noqa: ANN401
    """A number of torch's export schema; of one that depends on the input, that of the exported size."""
    expression = size.get("as_expr")
    number = size["as_int"] if expression is None else expression["hint"]["as_int"]
    if type(number) is not int or number < 0:
        raise TypeError("a size that is not a number")
    return number


def _check(name: str, record: ZipRecord, view: View, itemsize: int) -> None:
    """See that the values are in the record before any of them is touched."""
    shape, strides, offset = view
    if len(shape) != len(strides):
        raise TypeError("sizes and strides that do not fit")
    if max((offset, *shape, *strides)) > MAX_VALUES:
        raise UnsafeModelError(f"the tensor {name!r} claims more values than its {record.size} bytes")
    needed = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    too_many = needed and (last + 1) * itemsize > record.size
    if too_many or math.prod(max(size, 1) for size in shape) > MAX_VALUES:
        raise UnsafeModelError(f"the tensor {name!r} claims more values than its {record.size} bytes")


def _read(archive: Archive, record: ZipRecord, dtype: torch.dtype, view: View) -> torch.Tensor:
    """The values, in pages of the file that are read when they are touched."""
    shape, strides, offset = view
    if not math.prod(shape):
        return torch.empty(shape, dtype=dtype)
    size = record.size // dtype.itemsize * dtype.itemsize
    mapped = torch.from_numpy(bytes_of(archive.path, record.start, size, "c"))
    aligned = mapped if record.start % dtype.itemsize == 0 else mapped.clone()
    return strided(aligned.view(dtype)[offset:], shape, strides)
