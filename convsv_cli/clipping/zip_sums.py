"""Checksums of zip archives whose stored records were changed in place."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

ENTRY, LOCAL, DESCRIPTOR = b"PK\x01\x02", b"PK\x03\x04", b"PK\x07\x08"
ENTRY_SUM, LOCAL_SUM = 16, 14
"""Where they have the checksum."""
ENTRY_SIZE, LOCAL_SIZE = 46, 30
STREAMED = 1 << 3
"""The flag of a record whose checksum also stands behind it."""
PIECE = 2**24


def renew_sums(path: Path, changed: Iterable[int]) -> None:
    """Renew the checksums of the records in which bytes were changed: nothing else of the archive is.

    Args:
        path: of an archive that `loaders.zip_records` accepted.
        changed: positions of some of those bytes, at least one for each record.
    """
    with zipfile.ZipFile(path) as archive:
        entries, start = archive.infolist(), archive.start_dir
    with path.open("r+b") as file:
        wanted = set(changed)
        for place, entry in zip(_entry_places(file, start, len(entries)), entries, strict=True):
            begin = _begin(file, entry.header_offset)
            if any(begin <= position < begin + entry.compress_size for position in wanted):
                renewed = struct.pack("<L", _sum(file, begin, entry.compress_size))
                _put(file, place + ENTRY_SUM, renewed)
                _put_near(file, entry, begin, renewed)


def _entry_places(file: BinaryIO, start: int, count: int) -> list[int]:
    """Where each entry of the central directory begins."""
    places, position = [], start
    for _ in range(count):
        places.append(position)
        file.seek(position)
        head = file.read(ENTRY_SIZE)
        position += ENTRY_SIZE + sum(struct.unpack_from("<3H", head, 28))
    return places


def _begin(file: BinaryIO, header: int) -> int:
    """Where the content of a record begins, after its local header."""
    file.seek(header)
    name, extra = struct.unpack_from("<2H", file.read(LOCAL_SIZE), 26)
    return header + LOCAL_SIZE + int(name) + int(extra)


def _sum(file: BinaryIO, begin: int, length: int) -> int:
    file.seek(begin)
    found = 0
    while length:
        piece = file.read(min(PIECE, length))
        found, length = zlib.crc32(piece, found), length - len(piece)
    return found


def _put_near(file: BinaryIO, entry: zipfile.ZipInfo, begin: int, renewed: bytes) -> None:
    """In the local header, and behind the content, where they stand there."""
    if not entry.flag_bits & STREAMED:
        _put(file, entry.header_offset + LOCAL_SUM, renewed)
        return
    end = begin + entry.compress_size
    file.seek(end)
    signed = file.read(4) == DESCRIPTOR
    _put(file, end + 4 if signed else end, renewed)
    file.seek(entry.header_offset + LOCAL_SUM)
    if file.read(4) != bytes(4):
        _put(file, entry.header_offset + LOCAL_SUM, renewed)


def _put(file: BinaryIO, position: int, content: bytes) -> None:
    file.seek(position)
    file.write(content)
