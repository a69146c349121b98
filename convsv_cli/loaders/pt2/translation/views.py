"""Entries that move, and tensors that are joined, cut and padded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from onnx import TensorProto

from convsv_cli.loaders.pt2.translation.writer import Build, Call, UntranslatedError

END = 2**31 - 1
IMAGES = 4
"""Axes of a batch of these."""
MOST_DIFFERENCES = 8


def itself(call: Call) -> str:
    """Copies, types that stay, devices."""
    name = "self" if call.node.tensor("self") else "input"
    return call.cast(call.tensor(name), call.kind(name), call.kind())


def _shaped(call: Call) -> str:
    """Whatever gives all entries in their order, in the shape that the program says."""
    if call.kind("self") != call.kind():
        raise UntranslatedError("bits that are taken for those of another type")
    return call.reshaped(call.tensor(), call.result_shape())


def _swapped(call: Call) -> str:
    order = list(range(len(call.shape())))
    names = ("dim0", "dim1") if call.has("dim0") else ("axis0", "axis1")
    first, second = (call.axis(name, len(order)) for name in names)
    order[first], order[second] = order[second], order[first]
    return call.transposed(call.tensor(), order)


def _permuted(call: Call) -> str:
    rank = len(call.shape())
    return call.transposed(call.tensor(), [axis % rank for axis in call.wholes("dims")])


def _turned(call: Call) -> str:
    """t, mT, numpy_T, adjoint."""
    order = list(range(len(call.shape())))
    if call.node.target.startswith("aten.numpy_T"):
        order.reverse()
    elif len(order) > 1:
        order[-2:] = order[-1], order[-2]
    return call.transposed(call.tensor(), order)


def _moved(call: Call) -> str:
    rank = len(call.shape())
    sources, targets = ([axis % rank for axis in call.wholes(name)] for name in ("source", "destination"))
    order = [axis for axis in range(rank) if axis not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        order.insert(target, source)
    return call.transposed(call.tensor(), order)


def _expanded(call: Call) -> str:
    return call.emit("Expand", call.tensor(), call.integers(*call.result_shape()))


def _repeated(call: Call) -> str:
    times = call.wholes("repeats" if call.has("repeats") else "dims")
    shape = call.shape()
    rank = max(len(times), len(shape))
    full = (1,) * (rank - len(shape)) + shape
    x = call.tensor() if len(full) == len(shape) else call.reshaped(call.tensor(), full)
    return call.emit("Tile", x, call.integers(*((1,) * (rank - len(times)) + times)))


def _sliced(call: Call) -> str:
    axis = call.axis("dim", len(call.shape()), 0)
    start, end = call.whole("start", 0), min(call.whole("end", END), END)
    return _part(call, call.tensor(), axis, slice(start, end, call.whole("step", 1)))


def _part(call: Call, x: str, axis: int, places: slice) -> str:
    start, end, step = places.start or 0, END if places.stop is None else places.stop, places.step or 1
    return call.emit("Slice", x, *(call.integers(each) for each in (start, end, axis, step)))


def _narrowed(call: Call) -> str:
    shape, axis = call.shape(), call.axis("dim", len(call.shape()))
    start = call.whole("start") % shape[axis] if call.whole("start") < 0 else call.whole("start")
    return _part(call, call.tensor(), axis, slice(start, start + call.whole("length")))


def _differences(call: Call) -> str:
    """diff: of neighbours, with what is put before them and after them; of those again, `n` times in all."""
    axis, kind, order = call.axis("dim", len(call.shape()), -1), call.kind(), call.whole("n", 1)
    if kind == TensorProto.BOOL or order > MOST_DIFFERENCES:
        raise UntranslatedError("differences of truth values, or of a high order")
    parts = [call.operand(name, kind) for name in ("prepend", "self", "append") if call.has(name)]
    x = parts[0] if len(parts) == 1 else call.emit("Concat", *parts, axis=axis)
    for _ in range(order):
        x = call.emit("Sub", _part(call, x, axis, slice(1, None)), _part(call, x, axis, slice(0, -1)))
    return x


def _selected(call: Call) -> str:
    axis, index = call.axis("dim", len(call.shape())), call.whole("index")
    return call.emit("Gather", call.tensor(), call.scalar(index, TensorProto.INT64), axis=axis)


def _split(call: Call) -> Sequence[str]:
    axis = call.axis("dim", len(call.shape()), 0)
    sizes = [call.sizes_of(name)[axis] for name in call.node.outputs]
    if len(sizes) == 1:
        return [call.emit("Identity", call.tensor())]
    return call.several("Split", call.tensor(), call.integers(*sizes), outputs=len(sizes), axis=axis)


def _unbound(call: Call) -> Sequence[str]:
    axis = call.axis("dim", len(call.shape()), 0)
    count = len(call.node.outputs)
    return [
        call.emit("Gather", call.tensor(), call.scalar(i, TensorProto.INT64), axis=axis) for i in range(count)
    ]


def _joined(call: Call) -> str:
    """Tensors in the type of the result; an empty vector among them counts for nothing."""
    names, shapes = call.listed("tensors"), call.shapes("tensors")
    kept = [n for n, s in zip(names, shapes, strict=True) if s != (0,) or len(set(shapes)) == 1]
    parts = [call.cast(call.named(name), call.kind_of(name), call.kind()) for name in kept]
    return call.emit("Concat", *parts, axis=call.axis("dim", len(call.result_shape()), 0))


def _stacked(call: Call) -> str:
    axis, shape = call.axis("dim", len(call.result_shape()), 0), list(call.result_shape())
    shape[axis] = 1
    parts = [
        call.reshaped(call.cast(call.named(name), call.kind_of(name), call.kind()), shape)
        for name in call.listed("tensors")
    ]
    return call.emit("Concat", *parts, axis=axis)


def _flipped(call: Call) -> str:
    axes = call.axes("dims", len(call.shape())) if call.wholes("dims") else ()
    if not axes:
        return call.emit("Identity", call.tensor())
    lists = ([-1] * len(axes), [-END - 1] * len(axes), axes, [-1] * len(axes))
    return call.emit("Slice", call.tensor(), *(call.integers(*each) for each in lists))


def _rolled(call: Call) -> str:
    x, shape, shifts = call.tensor(), call.shape(), call.wholes("shifts")
    if not call.has("dims") or not call.wholes("dims"):
        flat = _turned_around(call, call.reshaped(x, (math.prod(shape),)), 0, math.prod(shape), shifts[0])
        return call.reshaped(flat, shape)
    for axis, shift in zip(call.axes("dims", len(shape)), shifts, strict=True):
        x = _turned_around(call, x, axis, shape[axis], shift)
    return x


def _turned_around(call: Call, x: str, axis: int, size: int, shift: int) -> str:
    at = (-shift) % size if size else 0
    if not at:
        return x
    return call.emit(
        "Concat", *(_part(call, x, axis, each) for each in (slice(at, None), slice(at))), axis=axis
    )


def _padded(call: Call) -> str:
    """The last axis first, beginnings and ends; in every mode."""
    pads, rank = call.wholes("pad" if call.has("pad") else "padding"), len(call.shape())
    begins, ends = [0] * rank, [0] * rank
    for i, (begin, end) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        begins[rank - 1 - i], ends[rank - 1 - i] = begin, end
    name = call.node.target
    word = call.text("mode", "constant")
    word = next((mode for mode in ("reflect", "replic", "circular") if mode in f"{name} {word}"), "constant")
    mode = {"reflect": "reflect", "replic": "edge", "circular": "wrap", "constant": "constant"}[word]
    if mode != "constant" and min(pads) < 0:
        raise UntranslatedError("a padding that cuts, and repeats")
    value = call.number("value", 0.0) if mode == "constant" else 0.0
    return call.emit(
        "Pad", call.tensor(), call.integers(*begins, *ends), call.scalar(value, call.kind()), mode=mode
    )


def _shuffled(call: Call) -> str:
    """Channels to pixels: DepthToSpace in torch's order, for two axes."""
    if len(call.shape()) != IMAGES:
        raise UntranslatedError("channels to pixels of other than a batch of images")
    return call.emit("DepthToSpace", call.tensor(), blocksize=call.whole("upscale_factor"), mode="CRD")


def _unshuffled(call: Call) -> str:
    """Pixels to channels, each channel's own together."""
    factor, (*batch, channels, rows, columns) = call.whole("downscale_factor"), call.shape()
    n, split = len(batch), (channels, rows // factor, factor, columns // factor, factor)
    apart = call.reshaped(call.tensor(), (*batch, *split))
    turned = call.transposed(apart, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return call.reshaped(turned, call.result_shape())


def _shuffled_channels(call: Call) -> str:
    (batch, channels, *rest), groups = call.shape(), call.whole("groups")
    apart = call.reshaped(call.tensor(), (batch, groups, channels // groups, *rest))
    turned = call.transposed(apart, (0, 2, 1, *range(3, 3 + len(rest))))
    return call.reshaped(turned, call.shape())


def _put_slice(call: Call) -> str:
    """A slice in place of a part of another tensor: what comes before it, it, what comes after."""
    shape = call.shape()
    axis = call.axis("dim", len(shape), 0)
    start, end = call.whole("start", 0), min(call.whole("end", END), shape[axis])
    if call.whole("step", 1) != 1 or not 0 <= start <= end:
        raise UntranslatedError("a slice with a step, from the end or of nothing that is put in place")
    return _replaced(call, call.tensor("src"), axis, (start, end), shape[axis])


def _put_one(call: Call) -> str:
    shape, axis = call.shape(), call.axis("dim", len(call.shape()))
    index = call.whole("index") % shape[axis]
    one = call.emit("Unsqueeze", call.tensor("src"), call.integers(axis))
    return _replaced(call, one, axis, (index, index + 1), shape[axis])


def _replaced(call: Call, new: str, axis: int, span: tuple[int, int], size: int) -> str:
    x, (start, end) = call.tensor(), span
    parts = [_part(call, x, axis, slice(start))] if start else []
    parts.append(new)
    parts += [_part(call, x, axis, slice(end, None))] if end < size else []
    return call.emit("Concat", *parts, axis=axis)


def _dropped(call: Call) -> str:
    if call.flag("train"):
        raise UntranslatedError("dropout in training")
    return call.tensor("input")


COPIES = (
    "alias", "clone", "contiguous", "detach", "detach_", "lift_fresh_copy", "lift_fresh", "to", "_to_copy",
    "type_as", "float", "double", "half", "positive", "requires_grad_",
)  # fmt: skip
SHAPES = (
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "ravel",
    "reshape_as", "squeeze_copy", "view_copy", "_reshape_alias",
)  # fmt: skip
PADS = (
    "pad",
    "constant_pad_nd",
    *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)),
)
BUILDS: Mapping[str, Build] = {
    **dict.fromkeys(COPIES, itself),
    **dict.fromkeys(SHAPES, _shaped),
    **dict.fromkeys(PADS, _padded),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _swapped),
    **dict.fromkeys(("t", "mT", "numpy_T", "adjoint", "matrix_H"), _turned),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expanded),
    **dict.fromkeys(("repeat", "tile"), _repeated),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split"), _split),
    **dict.fromkeys(("cat", "concat", "concatenate"), _joined),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _shuffled_channels),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _dropped),
    "permute": _permuted,
    "movedim": _moved,
    "slice": _sliced,
    "diff": _differences,
    "narrow": _narrowed,
    "select": _selected,
    "unbind": _unbound,
    "stack": _stacked,
    "flip": _flipped,
    "roll": _rolled,
    "pixel_shuffle": _shuffled,
    "pixel_unshuffle": _unshuffled,
    "slice_scatter": _put_slice,
    "select_scatter": _put_one,
}
