"""The records of a zip archive, by a strict reading: what two readers could take differently is refused.

Only the central directory is trusted to be read, and it is bounded; every record has one name, one place of
its own and, where its values are mapped, is stored as it is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.remote.files import opened

_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_ENTRY_FORMAT = struct.Struct("<4s6H3L5H2L")
_LOCAL_FORMAT = struct.Struct("<4s5H3L2H")
STORED, DEFLATED = 0, 8
ENCRYPTED = 1
MAX_DIRECTORY = 16 << 20
MAX_COMMENT = 1 << 16
_WIDE = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True, slots=True)
class ZipRecord:
    """One member of an archive: `length` bytes from `start` of the file, compressed by `method`."""

    name: str
    method: int
    start: int
    length: int
    size: int


def zip_records(path: Path, span: range | None = None) -> dict[str, ZipRecord]:
    """The records of the archive by name.

    Args:
        path: of the file.
        span: the bytes of it that are the archive, all of which it has; None for all.

    Raises:
        UnreadableModelError: it is damaged, or no zip archive.
        UnsafeModelError: names twice, records that overlap, encryption, or an endless directory.
    """
    try:
        with opened(path) as file:
            span = range(file.seek(0, 2)) if span is None else span
            return _checked(list(_entries(file, span)), file, span)
    except (struct.error, UnicodeDecodeError, IndexError, OverflowError) as error:
        raise _damaged() from error


def record_bytes(path: Path, record: ZipRecord, limit: int) -> bytes:
    """The content of a small record, inflated where that is needed.

    Raises:
        UnsafeModelError: it is longer than `limit`.
        UnreadableModelError: it is damaged.
    """
    if max(record.size, record.length) > limit:
        raise UnsafeModelError(f"the record {record.name!r} has {record.size} bytes")
    with opened(path) as file:
        file.seek(record.start)
        data = file.read(record.length)
    if record.method == DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit)
        except zlib.error as error:
            raise _damaged() from error
    if len(data) != record.size:
        raise _damaged()
    return data


def _entries(file: IO[bytes], span: range) -> Iterator[tuple[ZipRecord, int]]:
    """Records with the position of their local headers, as the central directory has them."""
    start, length = _directory(file, span)
    if length > MAX_DIRECTORY:
        raise UnsafeModelError("a zip archive with more records than any checkpoint has")
    file.seek(start)
    directory = file.read(length)
    position = 0
    while position < length:
        fields = _ENTRY_FORMAT.unpack_from(directory, position)
        name_length, extra_length, comment_length = fields[10:13]
        begin = position + _ENTRY_FORMAT.size
        extra_begin = begin + name_length
        position = extra_begin + extra_length + comment_length
        if fields[0] != _ENTRY or position > length:
            raise _damaged()
        name = directory[begin:extra_begin].decode("utf-8")
        if fields[3] & ENCRYPTED or fields[4] not in {STORED, DEFLATED}:
            raise UnsafeModelError(f"the record {name!r} is encrypted or compressed in an unusual way")
        wide = (fields[9], fields[8], fields[16])
        size, stored, header = _widened(wide, directory[extra_begin : extra_begin + extra_length])
        yield ZipRecord(name=name, method=fields[4], start=0, length=stored, size=size), span.start + header


def _widened(fields: tuple[int, int, int], extra: bytes) -> tuple[int, ...]:
    """Size, stored length and header position; those that need 64 bits are in the extra field 1."""
    if _WIDE not in fields:
        return fields
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            return tuple(next(values, _WIDE) if field == _WIDE else field for field in fields)
        position += 4 + length
    return fields


def _directory(file: IO[bytes], span: range) -> tuple[int, int]:
    """Where the central directory is in the file, and its length."""
    begin, end = span.start, span.stop
    tail_start = max(begin, end - MAX_COMMENT - 22)
    file.seek(tail_start)
    tail = file.read(end - tail_start)
    found = tail.rfind(_END)
    if found < 0:
        raise _damaged()
    length, start = struct.unpack_from("<2L", tail, found + 12)
    locator = tail_start + found - 20
    if _WIDE in {length, start} or struct.unpack_from("<H", tail, found + 10)[0] == 0xFFFF:
        if locator < begin:
            raise _damaged()
        file.seek(locator)
        signature, _, position, _ = struct.unpack("<4sLQL", file.read(20))
        file.seek(min(begin + position, end))
        record = file.read(56)
        if signature == _LOCATOR_64 and record.startswith(_END_64):
            length, start = struct.unpack_from("<2Q", record, 40)
    if begin + start + length > end:
        raise _damaged()
    return begin + start, length


def _checked(entries: list[tuple[ZipRecord, int]], file: IO[bytes], span: range) -> dict[str, ZipRecord]:
    """The records with their places; each must lie after the one before it and have a name of its own."""
    position, end = span.start, span.stop
    records: dict[str, ZipRecord] = {}
    for record, header in sorted(entries, key=lambda entry: entry[1]):
        if record.name in records:
            raise UnsafeModelError(f"the archive holds {record.name!r} twice")
        if header < position:
            raise UnsafeModelError(f"the record {record.name!r} overlaps another one")
        start = _start(file, min(header, end), record.name)
        position = start + record.length
        if position > end or (record.method == STORED and record.length != record.size):
            raise _damaged()
        records[record.name] = replace(record, start=start)
    return records


def _start(file: IO[bytes], header: int, name: str) -> int:
    """Where the content begins after its local header, which must have the same name."""
    file.seek(header)
    fields = _LOCAL_FORMAT.unpack(file.read(_LOCAL_FORMAT.size))
    if fields[0] != _LOCAL:
        raise _damaged()
    if file.read(fields[9]) != name.encode():
        raise UnsafeModelError(f"the record {name!r} has another name elsewhere in the archive")
    return header + _LOCAL_FORMAT.size + int(fields[9]) + int(fields[10])


def _damaged() -> UnreadableModelError:
    return UnreadableModelError("the zip archive is damaged", hint="download or save it again")
