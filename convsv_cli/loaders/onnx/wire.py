"""What a protobuf file will be once it is parsed, counted on its bytes: two of them may become hundreds."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx import ModelProto, NodeProto, StringStringEntryProto, TensorProto

from convsv_cli.errors import UnreadableModelError, UnsafeModelError

MAX_FILE = 2**31 - 1
"""Bytes that protobuf can parse."""
MAX_FIELDS, MAX_MESSAGES, MAX_NODES = 3_000_000, 1_000_000, 100_000
MAX_DEPTH = 90
"""Of messages in messages; a graph in a node is three."""
MAX_NAME = 2000
MAX_AXES = 64
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_FREE_TEXT = frozenset(("doc_string", "denotation", "producer_name", "producer_version"))


@dataclass(frozen=True, kw_only=True)
class _Message:
    """A type of message: the messages in it by field number, and which fields are nodes, names or sizes."""

    inner: dict[int, Any]
    nodes: frozenset[int]
    names: frozenset[int]
    sizes: frozenset[int]


@dataclass(kw_only=True)
class _Counts:
    fields: int = 0
    messages: int = 0
    nodes: int = 0
    types: dict[str, _Message] = field(default_factory=dict)


def check_wire(path: Path) -> None:
    """See that parsing the model in the file takes bounded memory; nothing of it is parsed.

    Raises:
        UnsafeModelError: more nodes, messages or axes than any network has; longer names; deeper nesting.
        UnreadableModelError: no protobuf, or longer than protobuf can be.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) > MAX_FILE:
            raise UnreadableModelError(
                "longer than an ONNX file can be", where=str(path), hint="store its weights beside the model"
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                _scan(data)
            except (IndexError, ValueError) as error:
                raise UnreadableModelError(
                    "the file is damaged or no ONNX model",
                    where=str(path),
                    hint="export or download it again",
                ) from error
            except UnsafeModelError as error:
                error.where = str(path)
                raise


def _scan(data: mmap.mmap) -> None:
    counts = _Counts()
    pending = [(0, len(data), ModelProto.DESCRIPTOR, 0)]
    while pending:
        start, end, descriptor, depth = pending.pop()
        message = _message(descriptor, counts)
        axes = 0
        for number, begin, stop in _fields(data, start, end):
            counts.fields += 1
            if number in message.names and stop - begin > MAX_NAME:
                raise UnsafeModelError(f"a name of more than {MAX_NAME} bytes")
            if number in message.sizes:
                axes += max(1, stop - begin)
            elif number in message.inner:
                pending.append((begin, stop, message.inner[number], depth + 1))
                counts.messages += 1
                counts.nodes += number in message.nodes
            if axes > 10 * MAX_AXES:
                raise UnsafeModelError(f"a tensor of more than {MAX_AXES} axes")
            if depth >= MAX_DEPTH:
                raise UnsafeModelError(f"its parts are nested more than {MAX_DEPTH} deep")
            _check(counts)


def _check(counts: _Counts) -> None:
    for number, most, what in (
        (counts.nodes, MAX_NODES, "nodes"),
        (counts.messages, MAX_MESSAGES, "parts"),
        (counts.fields, MAX_FIELDS, "fields"),
    ):
        if number > most:
            raise UnsafeModelError(f"a graph of more than {most} {what}")


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, beginning and end of each field; of one that has no length of its own, both are the same."""
    while position < end:
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        start = position
        if kind == _VARINT:
            _, position = _varint(data, position)
            start = position
        elif kind == _BYTES:
            length, start = _varint(data, position)
            position = start + length
        elif kind in (_EIGHT, _FOUR):
            position += 8 if kind == _EIGHT else 4
            start = position
        else:
            raise ValueError("a kind of field that ONNX does not have")
        if not number or position > end:
            raise ValueError("a field that is not whole")
        yield number, start, position


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    """A number of up to 64 bits, seven a byte, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _message(descriptor: Any, counts: _Counts) -> _Message:  # noqa: ANN401
    """What is known of a type, looked up once."""
    name = descriptor.full_name
    if name not in counts.types:
        inner = {each.number: each.message_type for each in descriptor.fields if each.message_type}
        texts = (each for each in descriptor.fields if each.type == each.TYPE_STRING)
        free = name == StringStringEntryProto.DESCRIPTOR.full_name
        sized = name == TensorProto.DESCRIPTOR.full_name
        node = NodeProto.DESCRIPTOR.full_name
        counts.types[name] = _Message(
            inner=inner,
            nodes=frozenset(number for number, kind in inner.items() if kind.full_name == node),
            names=frozenset(each.number for each in texts if not free and each.name not in _FREE_TEXT),
            sizes=frozenset([descriptor.fields_by_name["dims"].number] if sized else ()),
        )
    return counts.types[name]
