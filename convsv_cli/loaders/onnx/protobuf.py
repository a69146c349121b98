"""The bytes of an ONNX file before protobuf parses them: what they unfold to, and where large values are."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from google.protobuf.descriptor import Descriptor
from onnx import GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto

from convsv_cli.errors import UnreadableModelError, UnsafeModelError

MAX_FILE = 2**31 - 1
"""Bytes that protobuf can parse: two of them may become hundreds."""
MAX_FIELDS, MAX_MESSAGES, MAX_NODES = 3_000_000, 1_000_000, 100_000
MAX_NESTED = 90
"""Messages in messages; a graph in a node is three."""
MAX_NAME = 2000
MAX_AXES = 64
LARGE = 1 << 20
"""Bytes of values that are left in the file."""
HERE = "\0"
"""The location of values that are in the model's own file; no other file can have such a name."""
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_FREE_TEXT = frozenset(("doc_string", "denotation", "producer_name", "producer_version"))
_GRAPH = ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = GraphProto.INITIALIZER_FIELD_NUMBER
_RAW = TensorProto.RAW_DATA_FIELD_NUMBER
_ELSEWHERE = frozenset((TensorProto.EXTERNAL_DATA_FIELD_NUMBER, TensorProto.DATA_LOCATION_FIELD_NUMBER))


def check_wire(path: Path) -> None:
    """Make sure that parsing the model in the file takes bounded memory; nothing of it is parsed.

    Raises:
        UnsafeModelError: more nodes, messages or axes than any network has; longer names; deeper nesting.
        UnreadableModelError: no protobuf, or longer than protobuf can be.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) > MAX_FILE:
            raise UnreadableModelError(
                "longer than an ONNX file can be",
                where=str(path),
                hint="store its weights in external data files",
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                _scan(data)
            except (IndexError, ValueError) as error:
                raise UnreadableModelError(
                    "the file is damaged or not an ONNX model",
                    where=str(path),
                    hint="export or download it again",
                ) from error
            except UnsafeModelError as error:
                error.where = str(path)
                raise


@dataclass(frozen=True, kw_only=True)
class _Message:
    """A type of message: the messages in it by field number, and which fields are nodes, names or sizes."""

    inner: dict[int, Descriptor]
    nodes: frozenset[int]
    names: frozenset[int]
    sizes: frozenset[int]


@cache
def _message(descriptor: Descriptor) -> _Message:
    inner = {each.number: each.message_type for each in descriptor.fields if each.message_type}
    texts = (each for each in descriptor.fields if each.type == each.TYPE_STRING)
    free = descriptor.full_name == StringStringEntryProto.DESCRIPTOR.full_name
    sized = descriptor.full_name == TensorProto.DESCRIPTOR.full_name
    node = NodeProto.DESCRIPTOR.full_name
    return _Message(
        inner=inner,
        nodes=frozenset(number for number, kind in inner.items() if kind.full_name == node),
        names=frozenset(each.number for each in texts if not free and each.name not in _FREE_TEXT),
        sizes=frozenset([descriptor.fields_by_name["dims"].number] if sized else ()),
    )


def _scan(data: mmap.mmap) -> None:
    """Walk through all messages, and stop at the first field that is one too many."""
    fields = messages = nodes = 0
    pending = [(0, len(data), ModelProto.DESCRIPTOR, 0)]
    while pending:
        start, end, descriptor, depth = pending.pop()
        message, axes = _message(descriptor), 0
        for number, begin, stop in _fields(data, start, end):
            fields += 1
            if number in message.names and stop - begin > MAX_NAME:
                raise UnsafeModelError(f"a name of more than {MAX_NAME} bytes")
            if number in message.sizes:
                axes += max(1, stop - begin)
            elif number in message.inner:
                pending.append((begin, stop, message.inner[number], depth + 1))
                messages += 1
                nodes += number in message.nodes
            if axes > 10 * MAX_AXES:
                raise UnsafeModelError(f"a tensor with more than {MAX_AXES} axes")
            if depth >= MAX_NESTED:
                raise UnsafeModelError(f"its parts are nested more than {MAX_NESTED} deep")
            if nodes > MAX_NODES or messages > MAX_MESSAGES or fields > MAX_FIELDS:
                raise _too_many(nodes, messages)


def _too_many(nodes: int, messages: int) -> UnsafeModelError:
    if nodes > MAX_NODES:
        return UnsafeModelError(f"a graph with more than {MAX_NODES} nodes")
    most = f"{MAX_MESSAGES} parts" if messages > MAX_MESSAGES else f"{MAX_FIELDS} fields"
    return UnsafeModelError(f"a graph with more than {most}")


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, beginning and end of each field; the latter are equal for one that has no length of its own."""
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
    """A number of up to 64 bits, seven per byte, and the position after it."""
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


def outlined(path: Path) -> bytes:
    """The file without large initializers' values, which then are external data: bytes of that same file.

    Parsing all of it would hold every weight in memory, and the file beside it meanwhile.

    Args:
        path: of a file that `check_wire` accepts.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return b"".join(_outlined(data, (0, len(data)), (_GRAPH, _INITIALIZER)))


def _outlined(data: mmap.mmap, span: tuple[int, int], way: tuple[int, ...]) -> Iterator[bytes]:
    """The fields of a message, those on the way to an initializer rewritten."""
    if not way:
        yield from _outlined_tensor(data, span)
        return
    last = span[0]
    for number, begin, stop in _fields(data, *span):
        if number == way[0] and stop - begin >= LARGE:
            content = b"".join(_outlined(data, (begin, stop), way[1:]))
            yield from (_encoded(number << 3 | _BYTES), _encoded(len(content)), content)
        else:
            yield data[last:stop]
        last = stop


def _outlined_tensor(data: mmap.mmap, span: tuple[int, int]) -> Iterator[bytes]:
    fields, last = list(_fields(data, *span)), span[0]
    stored = [(begin, stop) for number, begin, stop in fields if number == _RAW]
    if len(stored) != 1 or any(number in _ELSEWHERE for number, _, _ in fields):
        yield data[slice(*span)]  # what protobuf makes of such a tensor is left to it
        return
    for number, begin, stop in fields:
        yield _reference(begin, stop - begin) if number == _RAW else data[last:stop]
        last = stop


def _reference(offset: int, length: int) -> bytes:
    """Fields of a tensor by which its values are in this very file."""
    tensor = TensorProto(data_location=TensorProto.EXTERNAL)
    for key, value in (("location", HERE), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return bytes(tensor.SerializeToString())


def _encoded(number: int) -> bytes:
    """As `_varint` reads it."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes((*found, number))
