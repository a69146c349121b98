"""GGUF headers in which one thing is another: counts, types, sizes, places, lengths of texts and arrays."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from random import Random

from tests.support.fuzzing.mutations import NUMBERS

_WIDTHS = dict(enumerate((1, 1, 2, 2, 4, 4, 4, 1))) | {10: 8, 11: 8, 12: 8}
ODD = (*NUMBERS, 3, 5, 8, 9, 31, 33, 48, 64, 256, 2**20, 2**61, 2**64 - 1)
NAMES = (
    "token_embd.weight",
    "output.weight",
    "blk.0.attn_q.weight",
    "blk.0.attn_q.scale",
    "x",
    "\x1b[2J",
    "a" * 64,
)


@dataclass(frozen=True)
class Field:
    """Where a number is in the header, and how wide."""

    at: int
    kind: str


def number(data: bytes, random: Random) -> bytes:
    """A number of the header is another one: one that is odd, near, or that of another field."""
    fields = _fields(data)
    field = random.choice(fields)
    old = struct.unpack_from(f"<{field.kind}", data, field.at)[0]
    other = random.choice(fields)
    value = random.choice((
        random.choice(ODD), old + random.choice((-1, 1, 32)), old * 2, old // 2, random.randrange(45),
        struct.unpack_from(f"<{other.kind}", data, other.at)[0],
    ))  # fmt: skip
    width = struct.calcsize(f"<{field.kind}")
    return data[: field.at] + (value % 2 ** (8 * width)).to_bytes(width, "little") + data[field.at + width :]


def name(data: bytes, random: Random) -> bytes:
    """A text of the header is another one, of its own length."""
    texts = [field.at for field in _fields(data) if field.kind == "Q" and _is_text(data, field.at)]
    at = random.choice(texts)
    length = struct.unpack_from("<Q", data, at)[0]
    new = random.choice((random.choice(NAMES), "", "é" * 3)).encode()
    return data[:at] + struct.pack("<Q", len(new)) + new + data[at + 8 + length :]


def nested(data: bytes, random: Random) -> bytes:
    """One pair more, whose value is arrays in arrays."""
    depth = random.choice((1, 2, 7, 8, 9, 500, 20_000))
    value = (
        struct.pack("<I", 9)
        + struct.pack("<IQ", 9, random.choice((1, 1, 2**40))) * depth
        + struct.pack("<IQ", 0, 0)
    )
    pairs = struct.unpack_from("<Q", data, 16)[0]
    return data[:16] + struct.pack("<Q", pairs + 1) + struct.pack("<Q", 1) + b"z" + value + data[24:]


def _is_text(data: bytes, at: int) -> bool:
    length = struct.unpack_from("<Q", data, at)[0]
    return 0 < length < 200 and data[at + 8 : at + 8 + length].isascii()


def _fields(data: bytes) -> list[Field]:
    """The numbers of a header, as far as it can be followed."""
    walk = _Walk(data)
    with contextlib.suppress(struct.error, KeyError, RecursionError):
        tensors, pairs = struct.unpack_from("<QQ", data, 8)
        walk.run(tensors, pairs)
    return [field for field in walk.found if field.at + struct.calcsize(field.kind) <= len(data)]


class _Walk:
    """Through a header, from one number to the next."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 24
        self.found = [Field(4, "I"), Field(8, "Q"), Field(16, "Q")]

    def run(self, tensors: int, pairs: int) -> None:
        for _ in range(pairs):
            self.at += self.take("Q")
            self.value(self.take("I"))
        for _ in range(tensors):
            self.at += self.take("Q")
            for _ in range(self.take("I")):
                self.take("Q")
            self.take("I")
            self.take("Q")

    def take(self, kind: str) -> int:
        self.found.append(Field(self.at, kind))
        value: int = struct.unpack_from(f"<{kind}", self.data, self.at)[0]
        self.at += struct.calcsize(f"<{kind}")
        return value

    def value(self, kind: int) -> None:
        if kind == 8:
            self.at += self.take("Q")
        elif kind == 9:
            inner, count = self.take("I"), self.take("Q")
            for _ in range(count):
                self.value(inner)
        elif _WIDTHS[kind] in (4, 8):
            self.take("I" if _WIDTHS[kind] == 4 else "Q")
        else:
            self.at += _WIDTHS[kind]
