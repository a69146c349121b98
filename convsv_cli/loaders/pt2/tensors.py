"""The weights and constants of a program, mapped from the file when their values are asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.pt2.archive import CONSTANTS, HINT, WEIGHTS, Archive
from convsv_cli.loaders.state_dict import StoredTensor
from convsv_cli.loaders.zip_records import ZipRecord

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


def stored_tensors(archive: Archive) -> dict[str, StoredTensor]:
    """The weights and then the constants, by the names that the module has them under.

    Raises:
        UnsafeModelError: one is pickled, or claims more values than the file has.
        UnreadableModelError: a list is missing, or says one name twice.
    """
    listed = f"{WEIGHTS}{archive.model}_weights_config.json"
    if listed not in archive.records:
        hint = HINT
        raise UnreadableModelError("the archive has no list of weights", where=str(archive.path), hint=hint)
    found = _tensors(archive, listed, WEIGHTS)
    listed = f"{CONSTANTS}{archive.model}_constants_config.json"
    constants = _tensors(archive, listed, CONSTANTS) if listed in archive.records else {}
    twice = found.keys() & constants.keys()
    if twice:
        raise UnreadableModelError(
            f"the tensor {min(twice)!r} is stored twice", where=str(archive.path), hint=HINT
        )
    return found | constants


def _tensors(archive: Archive, listed: str, folder: str) -> dict[str, StoredTensor]:
    entries = archive.json(listed)["config"]
    return {name: _stored(archive, name, entry, folder) for name, entry in entries.items()}


def _stored(archive: Archive, name: str, entry: Any, folder: str) -> StoredTensor:  # noqa: ANN401
    if entry["use_pickle"] is not False:
        raise UnsafeModelError(f"the tensor {name!r} is a pickle", where=str(archive.path), hint=HINT)
    meta = entry["tensor_meta"]
    shape, strides = (tuple(whole(size) for size in meta[key]) for key in ("sizes", "strides"))
    offset = whole(meta["storage_offset"])
    dtype = DTYPES.get(meta["dtype"])
    if dtype is None or meta["layout"] != STRIDED:
        reason = "sparse weights, which convsv does not read" if dtype else f"unknown type {meta['dtype']}"
        return StoredTensor(shape=shape, dtype="", read=lambda: torch.empty(0), unusable=reason)
    record = archive.records.get(folder + entry["path_name"])
    if record is None:
        raise UnreadableModelError(f"the tensor {name!r} has no data", where=str(archive.path), hint=HINT)
    _check(name, record, (shape, strides, offset), dtype.itemsize, archive)
    return StoredTensor(
        shape=shape,
        dtype=str(dtype).removeprefix("torch."),
        read=lambda: _read(archive, record, dtype, (shape, strides, offset)),
        identity=(record.start, offset, strides) if math.prod(shape) else None,
    )


def whole(size: Any) -> int:  # noqa: ANN401
    """A number of torch's export schema; of one that depends on the input, that of the exported size."""
    expression = size.get("as_expr")
    number = size["as_int"] if expression is None else expression["hint"]["as_int"]
    if type(number) is not int or number < 0:
        raise TypeError("a size that is no number")
    return number


def _check(name: str, record: ZipRecord, view: View, itemsize: int, archive: Archive) -> None:
    """See that the values are in the record, each once, before any of them is touched."""
    shape, strides, offset = view
    if len(shape) != len(strides):
        raise TypeError("sizes and strides that do not fit")
    needed = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    too_many = needed and max(needed, last + 1) * itemsize > record.size
    if too_many or math.prod(max(size, 1) for size in shape) > MAX_VALUES:
        raise UnsafeModelError(
            f"the tensor {name!r} claims more values than its {record.size} bytes", where=str(archive.path)
        )


def _read(archive: Archive, record: ZipRecord, dtype: torch.dtype, view: View) -> torch.Tensor:
    """The values, in pages of the file that are read when they are touched."""
    shape, strides, offset = view
    if not math.prod(shape):
        return torch.empty(shape, dtype=dtype)
    size = record.size // dtype.itemsize * dtype.itemsize
    mapped = torch.from_numpy(np.memmap(archive.path, np.uint8, "c", record.start, (size,)))
    aligned = mapped if record.start % dtype.itemsize == 0 else mapped.clone()
    return aligned.view(dtype).as_strided(shape, strides, offset)
