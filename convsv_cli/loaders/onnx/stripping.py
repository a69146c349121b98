"""Models without their weights, for what needs none."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from onnx import ModelProto, TensorProto

from convsv_cli.errors import UnsafeModelError

LARGE = 1 << 14
"""Bytes of a tensor that nothing but a layer needs: shapes, pads and scales are smaller."""
MARK = "\0stripped"
COPIES = 8
"""How many times the bytes that were taken out may come back: a function may be called more than once."""


def stripped(model: ModelProto) -> tuple[ModelProto, list[TensorProto]]:
    """The model with marks for its large tensors, and these."""
    light, taken = ModelProto(), list[TensorProto]()
    _copy(model, light, taken)
    return light, taken


def restore(model: ModelProto, taken: list[TensorProto]) -> None:
    """Put the tensors back in their places, wherever these have got to.

    Raises:
        UnsafeModelError: there are far more places than there were.
    """
    left = COPIES * sum(tensor.ByteSize() for tensor in taken)
    for place in _tensors(model):
        tensor = _marked(place, taken)
        if tensor is None:
            continue
        left -= tensor.ByteSize()
        if left < 0:
            raise UnsafeModelError(f"its local functions repeat their constants more than {COPIES} times")
        name = place.name if place.HasField("name") else None
        place.CopyFrom(tensor)
        if name is not None:
            place.name = name


def _copy(source: Message, target: Message, taken: list[TensorProto]) -> None:
    if source.ByteSize() <= LARGE:
        target.CopyFrom(source)
        return
    if isinstance(source, TensorProto) and isinstance(target, TensorProto):
        _mark(target, source, len(taken))
        taken.append(source)
        return
    for field, value in source.ListFields():
        if isinstance(value, Message):
            _copy(value, getattr(target, field.name), taken)
        elif field.message_type is not None:
            for each in value:
                _copy(each, getattr(target, field.name).add(), taken)
        elif hasattr(value, "append"):
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, value)


def _mark(target: TensorProto, source: TensorProto, number: int) -> None:
    target.data_type = source.data_type
    if source.HasField("name"):
        target.name = source.name
    target.dims.extend(source.dims)
    target.data_location = TensorProto.EXTERNAL
    target.external_data.add(key="location", value=MARK)
    target.external_data.add(key="offset", value=str(number))


def _marked(place: TensorProto, taken: list[TensorProto]) -> TensorProto | None:
    entries = {entry.key: entry.value for entry in place.external_data}
    number = entries.get("offset", "")
    found = entries.get("location") == MARK and number.isdecimal() and int(number) < len(taken)
    return taken[int(number)] if found else None


def _tensors(message: Message) -> Iterator[TensorProto]:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in [value] if isinstance(value, Message) else value:
            if isinstance(each, TensorProto):
                yield each
            else:
                yield from _tensors(each)
