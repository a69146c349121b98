"""GGUF files by the letter of the specification, true or not."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TYPES = {"float32": 0, "float16": 1, "float64": 28, "int32": 26}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, value: Any) -> bytes:
    """A text, a number (uint32), or bytes, which are the type and the value as they stand in the file."""
    if isinstance(value, bytes):
        return text(key) + value
    body = struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value)
    return text(key) + body


def texts(*values: str) -> bytes:
    """An array of texts."""
    return struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A tensor: what is said of it, and its bytes; `start` and `type` of the former may be wrong."""

    name: str
    shape: tuple[int, ...]
    type: int
    data: bytes
    start: int | None = None


def claim(name: str, values: np.ndarray) -> Claim:
    return Claim(name=name, shape=values.shape, type=TYPES[str(values.dtype)], data=values.tobytes())


def gguf_file(
    tensors: Sequence[Claim],
    pairs: dict[str, Any] | None = None,
    *,
    version: int = 3,
    alignment: int = 32,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """The file; `counts` are of tensors and pairs, where the header is to say something else."""
    pairs = {"general.architecture": "llama"} | (pairs or {})
    told, body = b"", b""
    for each in tensors:
        start = len(body) if each.start is None else each.start
        told += text(each.name) + struct.pack("<I", len(each.shape))
        told += struct.pack(f"<{len(each.shape)}QIQ", *each.shape[::-1], each.type, start)
        body += each.data + bytes(-len(each.data) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(pairs))))
    head += b"".join(pair(key, value) for key, value in pairs.items()) + told
    return head + bytes(-len(head) % alignment) + body
