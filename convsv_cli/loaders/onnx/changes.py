"""How operators changed: each change turns a node of an operator set before it into one of that set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import NodeProto, TensorProto

from convsv_cli.graph import Dims
from convsv_cli.loaders.onnx.tensors import Array

T = TypeVar("T")


class UnreadableNodeError(Exception):
    """What the node means is not known; the reason, in words that continue "Mul of opset 6, "."""


class Rewriting:
    """A node that is brought up to date.

    Attributes:
        node: what it is so far.
        shapes: of its inputs, as far as they are known.
        constants: new tensors that are known.
        made: shapes of the other new tensors.
    """

    def __init__(
        self,
        node: NodeProto,
        *,
        shapes: Sequence[Dims | None],
        dtypes: Sequence[np.dtype | None],
        new: Callable[[str], str],
    ) -> None:
        self.node = NodeProto()
        self.node.CopyFrom(node)
        self.node.domain = ""
        self.take("consumed_inputs", ())
        self.shapes = list(shapes)
        self.constants: dict[str, Array] = {}
        self.made: dict[str, Dims] = {}
        self._dtypes, self._new = dtypes, new
        self._before: list[NodeProto] = []
        self._after: list[NodeProto] = []

    def nodes(self) -> Iterator[NodeProto]:
        """In order."""
        yield from self._before
        yield self.node
        yield from self._after

    @property
    def dtype(self) -> np.dtype:
        """Of the first input; single precision where it is not known."""
        return next(iter(self._dtypes), None) or np.dtype(np.float32)

    def take(self, name: str, default: T) -> T:
        """Remove an attribute, and give its value; the default where it is absent."""
        for index, attribute in enumerate(self.node.attribute):
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                del self.node.attribute[index]
                return value.decode("utf-8", "replace") if isinstance(value, bytes) else value  # type: ignore[return-value]
        return default

    def set(self, name: str, value: object) -> None:
        """Give the node an attribute, in place of one that it has."""
        self.take(name, None)
        self.node.attribute.append(onnx.helper.make_attribute(name, value))

    def rename(self, old: str, name: str) -> None:
        """Give an attribute another name, where it is there."""
        for attribute in self.node.attribute:
            if attribute.name == old:
                attribute.name = name

    def has(self, name: str) -> bool:
        """Whether it has an attribute."""
        return any(attribute.name == name for attribute in self.node.attribute)

    def rank(self, index: int) -> int:
        """Of an input.

        Raises:
            UnreadableNodeError: it is not known.
        """
        shape = self.shapes[index] if index < len(self.shapes) else None
        if shape is None:
            raise UnreadableNodeError("of which it is not known how many axes its inputs have")
        return len(shape)

    def constant(self, values: ArrayLike, what: str, dtype: DTypeLike = np.int64) -> str:
        """The name of a new tensor."""
        name = self._new(f"{self.node.output[0]}/{what}")
        self.constants[name] = np.array(values, dtype)
        return name

    def feed(self, index: int, name: str) -> None:
        """Make a tensor an input; those before it that it lacks are left out."""
        self.node.input.extend([""] * (index + 1 - len(self.node.input)))
        self.node.input[index] = name

    def before(self, op: str, inputs: Sequence[str], what: str, shape: Dims, **attributes: int) -> str:
        """What a node before it makes."""
        name = self._new(f"{self.node.output[0]}/{what}")
        self._before.append(onnx.helper.make_node(op, inputs, [name], **attributes))  # type: ignore[arg-type]
        self.made[name] = shape
        return name

    def after(self, op: str, inputs: Sequence[str], what: str, shape: Dims) -> None:
        """Let a node behind it make its output, of what it makes so far and of these."""
        output = self.node.output[0]
        name = self._new(f"{output}/{what}")
        self.node.output[0] = name
        self.made[name] = shape
        self._after.append(onnx.helper.make_node(op, [name, *inputs], [output]))


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


def _as_upsample(node: Rewriting) -> None:
    """Resize: what it was in 10 is what Upsample is."""
    node.node.op_type = "Upsample"


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
    "Gemm": ((7, _removed("broadcast")),),
    "PRelu": ((7, _by_channel),),
    "Pad": ((2, _first_pad), (2, _renamed("paddings", "pads")), (11, _input("pads", 1)), (11, _padded)),
    "ReduceSum": ((13, _input("axes", 1, empty=False)),),
    "Reshape": ((5, _input("shape", 1)),),
    "Resize": ((11, _as_upsample),),
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
