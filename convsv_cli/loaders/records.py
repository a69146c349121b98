"""The records of a zip file that torch wrote: stored one after another, never deflated."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from convsv_cli.errors import UnreadableModelError, UnsafeModelError

MAX_DIRECTORY = 2**24
"""Bytes of the list of records: about 200,000 of them."""
END, END64, LOCATOR, ENTRY, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
UNKNOWN = 0xFFFFFFFF
HINT = "download or save it again"


@dataclass(frozen=True, kw_only=True)
class Record:
    """Bytes of the file under a name.

    Attributes:
        name: without the folder that all names begin with.
        header: where the record begins.
        start, size: where its bytes are.
    """

    name: str
    header: int
    start: int
    size: int


def records(path: Path) -> dict[str, Record]:
    """All records by name; none of their bytes are read.

    Raises:
        UnsafeModelError: one is deflated or encrypted, two have one name or share bytes, a name leads out
            of the folder, or there are too many.
        UnreadableModelError: this is no zip file, or a damaged one.
    """
    try:
        with path.open("rb") as file:
            start, directory = _directory(file)
            found = [_record(file, name, header, start) for name, header in _entries(directory)]
    except UnsafeModelError as error:
        raise UnsafeModelError(error.what, where=str(path)) from error
    except (struct.error, ValueError, UnicodeError) as error:
        raise UnreadableModelError(
            "the file is damaged, or no zip file", where=str(path), hint=HINT
        ) from error
    _refuse_overlap(found, path)
    return {record.name: record for record in found}


def _directory(file: BinaryIO) -> tuple[int, bytes]:
    """Where the list of records begins, and the list."""
    length = file.seek(0, 2)
    file.seek(max(length - 2**16, 0))
    tail = file.read()
    at = tail.rfind(END)
    size, start = struct.unpack_from("<II", tail, at + 12) if at >= 0 else (0, length + 1)
    if at >= 20 and tail[at - 20 : at - 16] == LOCATOR:
        (end64,) = struct.unpack_from("<Q", tail, at - 12)
        file.seek(min(end64, length))
        block = file.read(56)
        size, start = struct.unpack_from("<QQ", block, 40)
        if block[:4] != END64:
            raise ValueError
    if start + size > length:
        raise ValueError
    if size > MAX_DIRECTORY:
        raise UnsafeModelError("the list of its records is too long to read safely")
    file.seek(start)
    return start, file.read(size)


def _entries(directory: bytes) -> Iterator[tuple[bytes, tuple[int, int, int, int, int]]]:
    """Name, and (flags, method, size as stored, size, offset), of each record."""
    at = 0
    while at < len(directory):
        flags, method = struct.unpack_from("<HH", directory, at + 8)
        stored, size, names, extras, comments = struct.unpack_from("<IIHHH", directory, at + 20)
        (offset,) = struct.unpack_from("<I", directory, at + 42)
        if directory[at : at + 4] != ENTRY:
            raise ValueError
        name = directory[at + 46 : at + 46 + names]
        extra = directory[at + 46 + names : at + 46 + names + extras]
        size, stored, offset = _wide(extra, (size, stored, offset))
        yield name, (flags, method, stored, size, offset)
        at += 46 + names + extras + comments


def _wide(extra: bytes, numbers: tuple[int, int, int]) -> tuple[int, int, int]:
    """The numbers, those that did not fit 32 bits from the zip64 field."""
    at, wide = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        wide = extra[at + 4 : at + 4 + length] if kind == 1 else wide
        at += 4 + length
    missing = sum(number == UNKNOWN for number in numbers)
    spare = iter(struct.unpack_from(f"<{missing}Q", wide))
    first, second, third = (next(spare) if number == UNKNOWN else number for number in numbers)
    return first, second, third


def _record(file: BinaryIO, name: bytes, header: tuple[int, int, int, int, int], end: int) -> Record:
    flags, method, stored, size, offset = header
    text = name.decode("utf-8")
    if method or stored != size or flags & 1:
        raise UnsafeModelError(f"the record {text!r} is compressed or encrypted, which torch never writes")
    if text.startswith("/") or ".." in text.split("/") or "\\" in text or "\0" in text:
        raise UnsafeModelError(f"the record {text!r} has a name that leads out of the file")
    file.seek(offset)
    local = file.read(30 + len(name))
    names, extras = struct.unpack_from("<HH", local, 26)
    start = offset + 30 + names + extras
    if local[:4] != LOCAL or local[30:] != name or names != len(name) or start + size > end:
        raise ValueError
    return Record(name=text.partition("/")[2] or text, header=offset, start=start, size=size)


def _refuse_overlap(found: list[Record], path: Path) -> None:
    names: set[str] = set()
    end, before = 0, ""
    for record in sorted(found, key=lambda record: record.header):
        if record.name in names:
            raise UnsafeModelError(f"two records are named {record.name!r}", where=str(path))
        if record.header < end:
            raise UnsafeModelError(f"the records {before!r} and {record.name!r} overlap", where=str(path))
        names.add(record.name)
        end, before = record.start + record.size, record.name
