"""What a file unfolds to, counted before it does: its bytes to messages, and its local functions to nodes."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from google.protobuf.descriptor import Descriptor
from onnx import FunctionProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto

from convsv_cli.confinement import StoppedError
from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.onnx.confined import ContradictionError, restore, run, stripped
from convsv_cli.loaders.onnx.history import own, standard_opset
from convsv_cli.loaders.onnx.scopes import bodies

MAX_FILE = 2**31 - 1
"""Bytes that protobuf can parse: two of them may become hundreds."""
MAX_FIELDS, MAX_MESSAGES, MAX_NODES = 3_000_000, 1_000_000, 100_000
MAX_NESTED = 90
"""Messages in messages; a graph in a node is three."""
MAX_NAME = 2000
MAX_AXES = 64
MAX_BYTES = 2**27
"""Of all copies of functions, in addition to one of each."""
MAX_CALLS = 64
"""Calls in calls."""
MISCONVERTED = {"Hardmax": 13, "PRelu": 7, "Resize": 11, "Selu": 6, "Upsample": 11}
"""Operators that onnx's converter takes past the version that changed them, as if it had not."""
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_FREE_TEXT = frozenset(("doc_string", "denotation", "producer_name", "producer_version"))
Key = tuple[str, str, str]


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


def inlined(model: ModelProto) -> ModelProto:
    """The model without local functions; those of other operator sets are converted to the model's.

    Raises:
        UnreadableModelError: one cannot be converted, so that its layers would be missed.
        UnsafeModelError: they call each other in a circle or too deeply, unfold to more than `MAX_NODES`
            nodes or `MAX_BYTES` bytes, or take onnx too long.
    """
    if not model.functions:
        return model
    functions = {_key(function): function for function in model.functions}
    nodes, size = _Counter(functions).count(model.graph.node, depth=0)
    once = sum(function.ByteSize() for function in model.functions)
    if nodes > MAX_NODES or size > once + MAX_BYTES:
        raise UnsafeModelError(
            f"its local functions unfold to more than {MAX_NODES} nodes, or {MAX_BYTES // 2**20} MiB"
        )
    _refuse_misconverted(model)
    light, taken = stripped(model)
    try:
        result = run("inline", light)
    except StoppedError as error:
        raise UnsafeModelError(f"its local functions cannot be inlined: {error}") from error
    except ContradictionError as error:
        raise UnreadableModelError(f"its local functions are damaged: {error}") from error
    if taken:
        restore(result, taken)
    if result.functions:
        raise UnreadableModelError(
            f"the local function {result.functions[0].name!r} needs operator versions other than the model's",
            hint="export the model again with one opset for all",
        )
    return result


class _Counter:
    """Counts what nodes unfold to; each function once."""

    def __init__(self, functions: Mapping[Key, FunctionProto]) -> None:
        self._functions = functions
        self._known: dict[Key, tuple[int, int] | None] = {}
        """None for one that is being counted."""

    def count(self, nodes: Iterable[NodeProto], depth: int) -> tuple[int, int]:
        """How many nodes there are after inlining, and bytes of copies of functions."""
        total = size = 0
        for node in nodes:
            total += 1
            inner = [self.count(body.node, depth) for _, body in bodies(node)]
            if _key(node) in self._functions:
                inner.append(self._function(_key(node), depth + 1))
            total += sum(count for count, _ in inner)
            size += sum(more for _, more in inner)
        return total, size

    def _function(self, key: Key, depth: int) -> tuple[int, int]:
        if depth > MAX_CALLS:
            raise UnsafeModelError(f"its local functions are nested more than {MAX_CALLS} deep")
        if key not in self._known:
            self._known[key] = None
            function = self._functions[key]
            total, size = self.count(function.node, depth)
            self._known[key] = total, size + function.ByteSize()
        known = self._known[key]
        if known is None:
            raise UnsafeModelError(f"the local function {key[1]!r} calls itself")
        return known


def _key(item: FunctionProto | NodeProto) -> Key:
    name = item.name if isinstance(item, FunctionProto) else item.op_type
    return item.domain, name, item.overload


def _refuse_misconverted(model: ModelProto) -> None:
    """A function's nodes follow its own operator set; some would be taken for nodes of the model's."""
    target = _opset(model)
    for function in model.functions:
        opset = _opset(function)
        ops = sorted(node.op_type for node in _all_nodes(function.node) if own(node))
        wrong = next((op for op in ops if opset < MISCONVERTED.get(op, 0) <= target), None)
        if wrong is not None:
            raise UnreadableModelError(
                f"the local function {function.name!r} has a {wrong} of opset {opset}, which differs from "
                f"that of the model's opset {target}",
                hint="export the model again with one opset for all",
            )


def _opset(importing: ModelProto | FunctionProto) -> int:
    return standard_opset({entry.domain: entry.version for entry in importing.opset_import})


def _all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """With those of bodies, not too deep; what is deeper is refused later."""
    pending = [(node, 0) for node in nodes]
    while pending:
        node, depth = pending.pop()
        yield node
        if depth < MAX_CALLS:
            pending.extend((inner, depth + 1) for _, body in bodies(node) for inner in body.node)
