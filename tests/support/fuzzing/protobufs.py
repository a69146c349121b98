"""Other fields in an ONNX model."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from google.protobuf.message import DecodeError, Message
from onnx import ModelProto

from tests.support.fuzzing.mutations import NUMBERS

WORDS = (
    "", "x", "w", "y", "..", "../x", "/dev/zero", "a" * 3000, "Loop", "If", "Conv", "Reshape", "Constant",
    "MatMul", "local", "f", "g", "value", "location", "offset", "\0", "ai.onnx", "Transpose", "Concat",
    "Resize", "LSTM", "Einsum", "Gather", "Slice", "Pad", "ConvTranspose", "Expand", "Softmax",
)  # fmt: skip


def field(data: bytes, random: Random) -> bytes:
    """A field of some message inside is other, gone, or there again."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return data
    messages = list(_messages(model))
    message = random.choice(messages)
    fields = message.ListFields()
    if not fields or random.random() < 0.2:
        fields = [(each, getattr(message, each.name)) for each in message.DESCRIPTOR.fields]
    chosen, value = random.choice(fields)
    try:
        _change(message, chosen, value, messages, random)
        return model.SerializeToString()
    except (TypeError, ValueError, RecursionError):
        return data


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                yield from _messages(each)


def _change(message: Message, field: Any, value: Any, messages: list[Message], random: Random) -> None:
    if random.random() < 0.25:
        message.ClearField(field.name)
    elif isinstance(value, Message):
        value.CopyFrom(_copied(random.choice([m for m in messages if type(m) is type(value)] or [value])))
    elif not hasattr(value, "append"):
        setattr(message, field.name, _scalar(value, random))
    elif field.message_type is not None:
        _change_list(value, messages, random)
    elif len(value) and random.random() < 0.6:
        value[random.randrange(len(value))] = _scalar(value[0], random)
    else:
        value.extend([_scalar(value[0], random) if len(value) else 1] * random.choice((1, 1, 7, 100_000)))


def _change_list(value: Any, messages: list[Message], random: Random) -> None:
    kind = type(value.add())
    del value[-1]
    same = [each for each in messages if type(each) is kind]
    if len(value) and random.random() < 0.4:
        del value[random.randrange(len(value))]
    elif same:
        copies = [_copied(random.choice(same))] * random.choice((1, 1, 2, 300))
        value.extend(copies)
    if len(value) > 1 and random.random() < 0.3:
        value.reverse()


def _copied(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _scalar(value: object, random: Random) -> object:
    if isinstance(value, bool | float):
        return random.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
    if isinstance(value, int):
        return random.choice((*NUMBERS, *range(-2, 25), value + 1, value * 2)) % 2**63
    if isinstance(value, bytes):
        return random.choice((b"", value[:-1], value + b"\0", value * 2, b"\xff" * len(value)))
    return random.choice(WORDS)
