"""Tensors that are made of numbers, and entries that are looked up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from convsv_cli.loaders.pt2.translation.writer import REALS, Build, Call, UntranslatedError


def _looked_up(call: Call) -> str:
    return call.emit("Gather", call.tensor("weight"), call.tensor("indices"), axis=0)


def _picked(call: Call) -> str:
    """index_select: a single place leaves its axis there."""
    index = call.reshaped(call.tensor("index"), (-1,))
    found = call.emit("Gather", call.tensor(), index, axis=call.axis("dim", len(call.shape())))
    return found if call.shape() else call.reshaped(found, ())


def _gathered(call: Call) -> str:
    axis = call.axis("dim", len(call.shape()))
    return call.emit("GatherElements", call.tensor(), call.tensor("index"), axis=axis)


def _indexed(call: Call) -> str:
    """x[..., i, j, ...]: axes next to each other by tensors of whole numbers."""
    places = [(axis, name) for axis, name in enumerate(call.listed("indices")) if name]
    axes, rank = [axis for axis, _ in places], len(call.shape())
    if {call.kind_of(name) for _, name in places} - {TensorProto.INT64, TensorProto.INT32}:
        raise UntranslatedError("entries where a tensor of truth values says")
    if len(places) == 1:
        return call.emit("Gather", call.tensor(), call.named(places[0][1]), axis=axes[0])
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise UntranslatedError("entries at places along axes that are not next to each other")
    shape = np.broadcast_shapes(*(call.sizes_of(name) for _, name in places))
    sizes, last = call.integers(*shape), call.integers(-1)
    columns = (
        call.cast(call.emit("Expand", call.named(name), sizes), call.kind_of(name), TensorProto.INT64)
        for _, name in places
    )
    tuples = call.emit("Concat", *(call.emit("Unsqueeze", each, last) for each in columns), axis=-1)
    others = [axis for axis in range(rank) if axis not in axes]
    found = call.emit("GatherND", call.transposed(call.tensor(), (*axes, *others)), tuples)
    first, count = axes[0], len(shape)
    before = range(count, count + first)
    return call.transposed(found, (*before, *range(count), *range(count + first, count + len(others))))


def _made(value: float | None = None) -> Build:
    """A tensor of equal numbers."""

    def build(call: Call) -> str:
        number = call.number("fill_value") if value is None else value
        if not call.result_shape():
            return call.scalar(number, call.kind())
        return call.emit("Expand", call.scalar(number, call.kind()), call.integers(*call.result_shape()))

    return build


def _counted(call: Call) -> str:
    start, step = call.number("start", 0), call.number("step", 1)
    if call.kind() not in REALS:
        start, step = int(start), int(step)  # torch takes them in the type of the result
    count = math.prod(call.result_shape())
    call.writer.room(count)
    return call.writer.constant(start + step * np.arange(count), call.kind(), "range")


def _even_steps(call: Call) -> str:
    call.writer.room(math.prod(call.result_shape()))
    values = np.linspace(call.number("start"), call.number("end"), math.prod(call.result_shape()))
    return call.writer.constant(values, call.kind(), "range")


def _one_number(call: Call) -> str:
    return call.scalar(call.number("s" if call.has("s") else "value"), call.kind())


def _copied(call: Call) -> str:
    """What `copy` gives is its source, in the shape and type of what it is copied to."""
    source = call.cast(call.tensor("src"), call.kind("src"), call.kind())
    return call.emit("Expand", source, call.integers(*call.result_shape()))


def _identity(call: Call) -> str:
    rows, columns = call.result_shape()
    call.writer.room(rows, columns)
    return call.writer.constant(np.eye(rows, columns), call.kind(), "eye")


def _grid(call: Call) -> Sequence[str]:
    """meshgrid: each vector along an axis of its own."""
    names, swapped = call.listed("tensors"), call.text("indexing", "ij") == "xy"
    rank, found = len(names), []
    for i, (name, result) in enumerate(zip(names, call.node.outputs, strict=True)):
        axis = 1 - i if swapped and i < 2 <= rank else i
        sizes = [-1 if each == axis else 1 for each in range(rank)]
        along = call.reshaped(call.named(name), sizes)
        found.append(call.emit("Expand", along, call.integers(*call.sizes_of(result))))
    return found


def _unfolded(call: Call) -> str:
    """Sliding windows along an axis, which become the last one."""
    axis, size, step = call.axis("dimension", len(call.shape())), call.whole("size"), call.whole("step")
    count = call.result_shape()[axis]
    call.writer.room(count, size)
    places = np.arange(count)[:, None] * step + np.arange(size)
    index = call.writer.constant(places, TensorProto.INT64, "windows")
    rank = len(call.shape())
    made = call.emit("Gather", call.tensor(), index, axis=axis)
    order = [i for i in range(rank + 1) if i != axis + 1]
    return call.transposed(made, (*order, axis + 1))


def _triangle(call: Call) -> str:
    x, kind = call.tensor(), call.kind()
    lower = "tril" in call.node.target
    made = call.emit(
        "Trilu", x, call.scalar(call.whole("diagonal", 0), TensorProto.INT64), upper=0 if lower else 1
    )
    return call.cast(made, kind, kind)


BUILDS: Mapping[str, Build] = {
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros"), _made(0.0)),
    **dict.fromkeys(("empty", "empty_like", "new_empty"), _made(0.0)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), _made(1.0)),
    **dict.fromkeys(("full", "full_like", "new_full"), _made()),
    **dict.fromkeys(("tril", "triu"), _triangle),
    "scalar_tensor": _one_number,
    "copy": _copied,
    "eye": _identity,
    "meshgrid": _grid,
    "embedding": _looked_up,
    "index_select": _picked,
    "gather": _gathered,
    "index": _indexed,
    "unfold": _unfolded,
    "arange": _counted,
    "linspace": _even_steps,
}
