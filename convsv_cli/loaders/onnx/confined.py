"""What onnx's C++ does with models that strangers wrote: in a child process, which sees no large weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto
from onnx.inliner import inline_local_functions

from convsv_cli.confinement import MB, Limits, confined
from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.onnx.settling import settle

TASK = f"{__name__}:{{}}"
LARGE = 1 << 14
"""Bytes of a tensor that only a layer needs: shapes, pads and scales are smaller."""
MARK = "\0stripped"
COPIES = 8
"""How many times the bytes that were taken out may come back: a function may be called more than once."""
Report = Callable[[float], None]


class ContradictionError(Exception):
    """The model makes no sense, as the text says."""


def run(task: str, model: ModelProto) -> ModelProto:
    """Apply `infer`, `infer_strictly`, `settled` or `inline` to a model, in a child process.

    Raises:
        ContradictionError: it raised.
        StoppedError: it reached a limit, or crashed.
    """
    payload = model.SerializeToString()
    try:
        answer = confined(TASK.format(task), payload, limits(len(payload)))
    except RuntimeError as error:
        raise ContradictionError(str(error)) from error
    result: ModelProto = ModelProto.FromString(answer)
    return result


def limits(size: int) -> Limits:
    """For a model of `size` bytes without its weights, of which 10 MB may take seconds."""
    processor = 5 + size // (200 << 10)
    return Limits(
        seconds=2.0 * processor, processor=processor, memory=512 * MB + 20 * size, answer=16 * MB + 4 * size
    )


def infer(model: bytes, _report: Report) -> bytes:
    """The model with the shapes that follow from its inputs'; where some contradict, those do not follow."""
    return bytes(onnx.shape_inference.infer_shapes(model, data_prop=True).SerializeToString())


def infer_strictly(model: bytes, _report: Report) -> bytes:
    """As `infer`, but contradictions raise."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return bytes(inferred.SerializeToString())


def settled(model: bytes, _report: Report) -> bytes:
    """The model with small constants in place of what the shapes known of it decide."""
    copy = onnx.load_model_from_string(model)
    settle(copy)
    return bytes(copy.SerializeToString())


def inline(model: bytes, _report: Report) -> bytes:
    """The model without local functions; those of other operator sets are converted to its own.

    Conversion needs the types of a function's arguments, which few models declare.
    """
    whole = onnx.load_model_from_string(model)
    try:
        inlined = inline_local_functions(whole, convert_version=True)
    except Exception:  # noqa: BLE001  (onnx raises many types)
        typed = onnx.shape_inference.infer_shapes(whole)
        typed.graph.value_info.extend(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in typed.graph.initializer
        )
        inlined = inline_local_functions(typed, convert_version=True)
    return bytes(inlined.SerializeToString())


def stripped(model: ModelProto) -> tuple[ModelProto, list[TensorProto]]:
    """The model with marks in place of its large tensors, and these."""
    light, taken = ModelProto(), list[TensorProto]()
    _copy(model, light, taken)
    return light, taken


def restore(model: ModelProto, taken: list[TensorProto]) -> None:
    """Put the tensors back in place of their marks, wherever these are now.

    Raises:
        UnsafeModelError: there are far more marks than there were.
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
