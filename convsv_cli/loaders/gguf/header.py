"""What a GGUF file says of its tensors, read without believing any of it.

Source: the specification in ggml's docs/gguf.md. A file begins with "GGUF", a version, the numbers of tensors
and of pairs, the pairs of keys and values, and what is known of each tensor; from the next multiple of an
alignment on, there are the values of tensors. What is not needed, such as a vocabulary, is passed over.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from convsv_cli import limits
from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.loader import MAX_TENSORS
from convsv_cli.names import LONGEST_NAME
from convsv_cli.remote.files import opened, size

HINT = "download or convert it again"
VERSIONS = (2, 3)
ALIGNMENT = "general.alignment"
DEFAULT_ALIGNMENT = 32
MOST_AXES = 4
MOST_PAIRS = 65_536
LONGEST_KEY = 65_535
DEEPEST = 8
"""Arrays within arrays."""
MOST_BYTES = 2**62
_STRING, _ARRAY = 8, 9
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
"""The types of values, as `struct` calls them."""
FLOATS = {0: "float32", 1: "float16", 28: "float64", 30: "bfloat16"}
INTEGERS = {24: "int8", 25: "int16", 26: "int32", 27: "int64"}
BLOCKS = {
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""Of types whose entries come in blocks: the name, the entries of a block, and its bytes."""
_WIDTHS = {
    "float32": 4,
    "float16": 2,
    "float64": 8,
    "bfloat16": 2,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tensor as the header has it.

    Attributes:
        shape: the axis along which entries are stored last, as torch has it.
        type: its number.
        start: position of its first byte in the file.
    """

    shape: tuple[int, ...]
    type: int
    start: int

    @property
    def type_name(self) -> str:
        """What ggml calls the type, or its number."""
        if self.type in BLOCKS:
            return BLOCKS[self.type][0]
        return FLOATS.get(self.type) or INTEGERS.get(self.type) or f"type {self.type}"

    @property
    def length(self) -> int | None:
        """Bytes of its values; None where the type is not known, or a row is no number of its blocks."""
        entries = math.prod(self.shape)
        if self.type in BLOCKS:
            _, block, width = BLOCKS[self.type]
            return None if self.shape[-1] % block else entries // block * width
        width = _WIDTHS.get(self.type_name, 0)
        return entries * width if width else None


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says.

    Attributes:
        pairs: the numbers and short texts among its keys and values.
        tensors: by name.
    """

    pairs: dict[str, Any]
    tensors: dict[str, Entry]


def read_header(path: Path) -> Header:
    """The header of a file.

    Raises:
        UnreadableModelError: it is damaged, of another version, or a tensor's values are not in the file.
        UnsafeModelError: more than any model has.
    """
    with opened(path) as file:
        reader = _Reader(file=file, size=size(path))
        if reader.bytes(4) != b"GGUF":
            raise UnreadableModelError("this is no GGUF file", hint=HINT)
        version = reader.number("I")
        if version not in VERSIONS:
            swapped = version & 0xFFFF == 0 and version
            what = "a GGUF file for big-endian machines" if swapped else f"a GGUF file of version {version}"
            raise UnreadableModelError(f"this is {what}, which convsv does not read", hint="convert it again")
        tensors, pairs = reader.number("Q"), reader.number("Q")
        _few(tensors, limits.most(MAX_TENSORS), "tensors")
        _few(pairs, MOST_PAIRS, "pairs of keys and values")
        known = reader.pairs(pairs)
        entries = [reader.tensor() for _ in range(tensors)]
        start, total = reader.at, reader.size
    return Header(pairs=known, tensors=_placed(entries, start, _alignment(known), total))


def _few(count: int, most: int, what: str) -> None:
    if count > most:
        raise UnsafeModelError(f"the header says that there are {count} {what}, more than {most}")


def _alignment(pairs: dict[str, Any]) -> int:
    found = pairs.get(ALIGNMENT, DEFAULT_ALIGNMENT)
    if type(found) is not int or found < 1 or found & (found - 1):
        raise UnreadableModelError(f"the file is damaged (its alignment is {found})", hint=HINT)
    return found


def _placed(entries: list[tuple[str, Entry]], start: int, alignment: int, total: int) -> dict[str, Entry]:
    """The tensors by name, each where it is in the file, and none within another."""
    start = -(-start // alignment) * alignment
    found: dict[str, Entry] = {}
    for name, entry in entries:
        if name in found:
            raise UnreadableModelError(f"the tensor {name!r} is there twice", hint=HINT)
        if entry.start % alignment:
            raise UnreadableModelError(f"the tensor {name!r} is not where the alignment says", hint=HINT)
        found[name] = Entry(shape=entry.shape, type=entry.type, start=start + entry.start)
    end, before = start, ""
    for name, entry in sorted(found.items(), key=lambda item: item[1].start):
        if entry.start < end:
            raise UnreadableModelError(f"the tensors {before!r} and {name!r} overlap", hint=HINT)
        end, before = entry.start + (entry.length or 0), name
        if end > total:
            raise UnreadableModelError(
                f"the values of {name!r} are not in the file: it is cut off", hint=HINT
            )
    return found


@dataclass(kw_only=True)
class _Reader:
    """Values of a header, one after the other; what is not kept costs steps, and no memory."""

    file: IO[bytes]
    size: int
    at: int = field(default=0, init=False)

    def bytes(self, count: int) -> bytes:
        """The next bytes."""
        self._move(count)
        found = self.file.read(count)
        if len(found) < count:
            raise UnreadableModelError("the file is damaged (its header is incomplete)", hint=HINT)
        return found

    def number(self, kind: str) -> Any:  # noqa: ANN401
        """The next value of a type of `struct`."""
        return struct.unpack(f"<{kind}", self.bytes(struct.calcsize(f"<{kind}")))[0]

    def text(self, longest: int, what: str) -> str:
        """The next text, of so many bytes at most."""
        length = self.number("Q")
        if length > longest:
            raise UnsafeModelError(f"{what} longer than {longest} bytes")
        return self.bytes(length).decode(errors="surrogateescape")

    def pairs(self, count: int) -> dict[str, Any]:
        """So many keys and values; None for a value that is passed over."""
        found: dict[str, Any] = {}
        limits.spend(count * limits.OBJECT, "reading its keys")
        for _ in range(count):
            key = self.text(LONGEST_KEY, "a key")
            if key in found:
                raise UnreadableModelError(f"the key {key!r} is there twice", hint=HINT)
            found[key] = self._value(self.number("I"), 0)
        return found

    def tensor(self) -> tuple[str, Entry]:
        """What is said of the next tensor; its `start` counts from the first of all values."""
        limits.spend(limits.OBJECT, "reading what is said of its tensors")
        name, axes = self.text(4 * LONGEST_NAME, "a name"), self.number("I")
        if not 1 <= axes <= MOST_AXES:
            raise UnreadableModelError(f"the file is damaged ({name!r} has {axes} axes)", hint=HINT)
        sizes = struct.unpack(f"<{axes}Q", self.bytes(8 * axes))
        kind, start = self.number("I"), self.number("Q")
        if max(*sizes, start, math.prod(sizes)) > MOST_BYTES // 8:
            raise UnsafeModelError(f"the tensor {name!r} claims more values than any file has")
        return name, Entry(shape=sizes[::-1], type=kind, start=start)

    def _value(self, kind: int, depth: int) -> Any:  # noqa: ANN401
        """The next value, where it is a number or a short text; None for one that is passed over."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            length = self.number("Q")
            if length <= LONGEST_NAME:
                return self.bytes(length).decode(errors="surrogateescape")
            self._skip(length)
        elif kind == _ARRAY:
            self._pass_array(depth)
        else:
            raise UnreadableModelError(f"the file is damaged (a value of type {kind})", hint=HINT)
        return None

    def _pass_array(self, depth: int) -> None:
        if depth >= DEEPEST:
            raise UnreadableModelError("the file is damaged (arrays are nested too deeply)", hint=HINT)
        kind, count = self.number("I"), self.number("Q")
        if kind in _SCALARS:
            self._skip(count * struct.calcsize(f"<{_SCALARS[kind]}"))
            return
        if 8 * count > self.size - self.at:
            raise UnreadableModelError("the file is damaged (its header is incomplete)", hint=HINT)
        limits.spend(count * limits.OBJECT, "passing over the texts of its header")
        for _ in range(count):
            if kind == _STRING:
                self._skip(self.number("Q"))
            else:
                self._value(kind, depth + 1)

    def _skip(self, count: int) -> None:
        self._move(count)
        self.file.seek(count, 1)

    def _move(self, count: int) -> None:
        if count > self.size - self.at:
            raise UnreadableModelError("the file is damaged (its header is incomplete)", hint=HINT)
        self.at += count
