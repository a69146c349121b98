"""How operators changed: each change turns a node of an operator set before it into one of that set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from convsv_cli.loaders.onnx.rewriting import Rewriting, UnreadableNodeError
from convsv_cli.model.graph import Dims

Change = Callable[[Rewriting], None]


def _aligned(node: Rewriting) -> None:
    """Before 7, `axis` said where the axes of B lie in A; without it they are the last ones, as now."""
    broadcast, axis = node.take("broadcast", 0), node.take("axis", None)
    if not broadcast or axis is None:
        return
    outer, inner = node.rank(0), node.rank(1)
    start = axis + outer if axis < 0 else axis
    if not 0 <= start <= outer - inner:
        raise UnreadableNodeError(f"whose axis {axis} does not fit its inputs")
    _stretched(node, outer - start - inner)


def _by_channel(node: Rewriting) -> None:
    """PRelu: before 7, a list of slopes was one for each channel, on axis 1."""
    if None not in node.shapes[:2] and node.rank(1) == 1 and node.shapes[1] != (1,):
        _stretched(node, node.rank(0) - 2)


def _stretched(node: Rewriting, count: int) -> None:
    """Give input 1 so many axes of length 1 behind its own."""
    if count > 0:
        rank, shape = node.rank(1), node.shapes[1] or ()
        axes = node.constant(range(rank, rank + count), "axes")
        inputs = [node.node.input[1], axes]
        node.feed(1, node.before("Unsqueeze", inputs, "aligned", (*shape, *(1,) * count)))


def _input(name: str, index: int, *, empty: bool = True) -> Change:
    """An attribute of whole numbers became an input; one that lists nothing did so if `empty`."""

    def change(node: Rewriting) -> None:
        values = node.take(name, None)
        if values is not None and (empty or values):
            node.feed(index, node.constant(np.atleast_1d(values), name))

    return change


def _limits(node: Rewriting) -> None:
    """Clip: limits became inputs of its own type."""
    for index, name in enumerate(("min", "max"), 1):
        value = node.take(name, None)
        if value is not None:
            with np.errstate(over="ignore"):
                node.feed(index, node.constant(value, name, node.dtype))


def _default(name: str, value: object) -> Change:
    """An attribute has another default now."""

    def change(node: Rewriting) -> None:
        if not node.has(name):
            node.set(name, value)

    return change


def _removed(*names: str) -> Change:
    """Attributes that say nothing that matters here."""

    def change(node: Rewriting) -> None:
        for name in names:
            node.take(name, None)

    return change


def _renamed(old: str, name: str) -> Change:
    return lambda node: node.rename(old, name)


def _named_type(node: Rewriting) -> None:
    """Cast: the type was a name."""
    name = node.take("to", "")
    try:
        node.set("to", TensorProto.DataType.Value(str(name).upper()))
    except ValueError as error:
        raise UnreadableNodeError(f"to {name!r}, which is no type") from error


def _one_axis(node: Rewriting) -> None:
    """Softmax and its kind: before 13, over `axis` and all axes behind it together; 1 by default."""
    axis, shape = node.take("axis", 1), node.shapes[0]
    if shape is None:
        _flattened(node, axis, None, None)
        return
    start = axis + len(shape) if axis < 0 else axis
    if not 0 <= start <= len(shape):
        raise UnreadableNodeError(f"whose axis {axis} does not exist")
    wide = [index for index in range(start, len(shape)) if shape[index] != 1]
    if start < len(shape) and len(wide) <= 1:
        node.set("axis", wide[0] if wide else start)
    else:
        _flattened(node, start, shape, (_product(shape[:start]), _product(shape[start:])))


def _flattened(node: Rewriting, axis: int, shape: Dims | None, flat: Dims | None) -> None:
    """Let it be done to rows of a matrix, and give the result its shape back."""
    source = node.node.input[0]
    matrix = flat or (None, None)
    node.feed(0, node.before("Flatten", [source], "flat", matrix, axis=axis))
    node.set("axis", 1)
    sizes = [size for size in shape or () if size is not None]
    if shape is not None and len(sizes) == len(shape):
        target = node.constant(sizes, "shape")
    else:
        target = node.before("Shape", [source], "shape", (None if shape is None else len(shape),))
    node.after("Reshape", [target], "rows", matrix)


def _product(sizes: Dims) -> int | None:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def _trained(node: Rewriting) -> None:
    """BatchNormalization: before 7, it trained unless told that this is a test."""
    if not node.take("is_test", 0):
        node.set("training_mode", 1)


def _spatial(node: Rewriting) -> None:
    if not node.take("spatial", 1):
        raise UnreadableNodeError("which has statistics for each position (spatial=0)")


def _tested(node: Rewriting) -> None:
    if not node.take("is_test", 0):
        raise UnreadableNodeError("which drops at random: is_test is not set")


def _equal_parts(node: Rewriting) -> None:
    """Split: into as many equal parts as there are outputs, where nothing says how long they are."""
    if len(node.node.input) < 2 or not node.node.input[1]:
        node.set("num_outputs", len(node.node.output))


def _padded(node: Rewriting) -> None:
    """Pad: what is filled in became an input of its own type."""
    node.feed(2, node.constant(node.take("value", 0.0), "value", node.dtype))


def _first_pad(node: Rewriting) -> None:
    """The text of 1 has the ends of each axis in another order than its example."""
    mode = node.take("mode", "constant")
    node.set("mode", mode)
    if mode != "constant":
        raise UnreadableNodeError(f"which does not say the order of its paddings for the mode {mode!r}")


def _tiled(_: Rewriting) -> None:
    raise UnreadableNodeError("which does not say whether it repeats entries or all of its input")


def _two_scales(node: Rewriting) -> None:
    """Upsample: of images, by height and width."""
    height, width = node.take("height_scale", 0.0), node.take("width_scale", 0.0)
    node.set("scales", [1.0, 1.0, height, width])


def _scales(node: Rewriting) -> None:
    node.feed(1, node.constant(node.take("scales", ()), "scales", np.float32))


def _now(op: str) -> Change:
    """It is another operator now; what Resize was in 10, Upsample was."""

    def change(node: Rewriting) -> None:
        node.node.op_type = op

    return change


def _whole_power(node: Rewriting) -> None:
    """Pooling: p became a whole number; others stay as they are."""
    power = node.take("p", 2.0)
    node.set("p", int(power) if power == int(power) else power)


def _by_group(node: Rewriting) -> None:
    """GroupNormalization: before 21, scales and biases were those of groups; each channel has its own now."""
    groups, shape = node.take("num_groups", 1), node.shapes[0]
    node.set("num_groups", groups)
    if shape is None or len(shape) < 2 or shape[1] is None:
        return  # what holds for groups holds for channels
    each = shape[1] // groups
    for index in (1, 2):
        axes, sizes, row = (node.constant(values, "by_group") for values in ([1], [groups, each], [-1]))
        column = node.before("Unsqueeze", [node.node.input[index], axes], "column", (groups, 1))
        spread = node.before("Expand", [column, sizes], "spread", (groups, each))
        node.feed(index, node.before("Reshape", [spread, row], "channels", (groups * each,)))


def _last_state(node: Rewriting) -> None:
    """RNN and its kind: all states were a result only if asked for."""
    asked = node.take("output_sequence", 0)
    if any(node.node.output[:1]) and not asked:
        raise UnreadableNodeError("whose states are used, but not asked for (output_sequence)")


_NONE, _FLOAT = float("inf"), float(np.finfo(np.float32).max)
"""Limits of Clip where none are given: before 6, and before 11."""
_BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")

CHANGES: Mapping[str, tuple[tuple[int, Change], ...]] = {
    **dict.fromkeys(_BINARY, ((7, _aligned),)),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), ((13, _one_axis),)),
    **{f"Reduce{kind}": ((18, _input("axes", 1, empty=False)),) for kind in _REDUCTIONS},
    **dict.fromkeys(("RNN", "GRU", "LSTM"), ((7, _last_state),)),
    "BatchNormalization": ((7, _trained), (9, _spatial)),
    "Cast": ((6, _named_type),),
    "Clip": (
        *((6, _default("min", -_NONE)), (6, _default("max", _NONE))),
        *((11, _default("min", -_FLOAT)), (11, _default("max", _FLOAT)), (11, _limits)),
    ),
    "Concat": ((4, _default("axis", 1)),),
    "Dropout": ((7, _tested), (12, _removed("ratio"))),
    "GlobalLpPool": ((2, _whole_power),),
    "GroupNormalization": ((21, _by_group),),
    "LpPool": ((2, _whole_power),),
    "Gemm": ((7, _removed("broadcast")),),
    "PRelu": ((7, _by_channel),),
    "Pad": ((2, _first_pad), (2, _renamed("paddings", "pads")), (11, _input("pads", 1)), (11, _padded)),
    "ReduceSum": ((13, _input("axes", 1, empty=False)),),
    "Reshape": ((5, _input("shape", 1)),),
    "Resize": ((11, _now("Upsample")),),
    "Scatter": ((11, _now("ScatterElements")),),
    "Selu": ((6, _default("alpha", 1.6732)), (6, _default("gamma", 1.0507))),
    "Slice": ((10, _input("starts", 1)), (10, _input("ends", 2)), (10, _input("axes", 3))),
    "Split": ((13, _input("split", 1)), (18, _equal_parts)),
    "Squeeze": ((13, _input("axes", 1)),),
    "Tile": ((6, _tiled),),
    "TopK": ((10, _input("k", 1)),),
    "Unsqueeze": ((13, _input("axes", 1)),),
    "Upsample": ((7, _two_scales), (9, _scales)),
}
"""By operator, in order of time: before which operator set a node has to be changed, and how."""
