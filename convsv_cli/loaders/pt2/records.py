"""The records of a zip file that torch.export wrote: stored, never compressed, below one folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from convsv_cli.errors import ConvsvError, UnsafeModelError
from convsv_cli.loaders.zip_records import STORED, ZipRecord, zip_records


def records(path: Path) -> dict[str, ZipRecord]:
    """All records by name, without the folder that all names begin with; none of their bytes are read.

    Raises:
        UnsafeModelError: as `zip_records`; or one is compressed, or its name leads out of the folder.
        UnreadableModelError: this is no zip file, or a damaged one.
    """
    try:
        found = [_checked(record) for record in zip_records(path).values()]
    except ConvsvError as error:
        raise type(error)(error.what, where=str(path), hint=error.hint) from error
    if twice := [name for name, count in Counter(record.name for record in found).items() if count > 1]:
        raise UnsafeModelError(f"two records are named {twice[0]!r}", where=str(path))
    return {record.name: record for record in found}


def _checked(record: ZipRecord) -> ZipRecord:
    name = record.name
    if record.method != STORED:
        raise UnsafeModelError(f"the record {name!r} is compressed, which torch never writes")
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise UnsafeModelError(f"the record {name!r} has a name that leads out of the file")
    return replace(record, name=name.partition("/")[2] or name)
