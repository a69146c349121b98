"""A node that is rewritten for a newer operator set, and the changes that take further nodes around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import NodeProto

from convsv_cli.loaders.onnx.signatures import UnreadableNodeError
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.model.graph import Dims

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A node as nodes of the newest operator set.

    Attributes:
        nodes: in order.
        main: the one that does what the node does; the others move and reshape its inputs and outputs.
        constants: new tensors whose values are known, by name.
        shapes: of other new tensors, as far as they are known.
    """

    nodes: tuple[NodeProto, ...]
    main: NodeProto
    constants: Mapping[str, Array]
    shapes: Mapping[str, Dims]


class Rewriting:
    """A node that is being rewritten.

    Attributes:
        node: as it is so far.
        shapes: of its inputs, as far as they are known.
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
        self._dtypes, self._new = dtypes, new
        self._constants: dict[str, Array] = {}
        self._made: dict[str, Dims] = {}
        self._before: list[NodeProto] = []
        self._after: list[NodeProto] = []

    def reading(self) -> Reading:
        """The result."""
        return Reading(
            nodes=(*self._before, self.node, *self._after),
            main=self.node,
            constants=self._constants,
            shapes=self._made,
        )

    @property
    def dtype(self) -> np.dtype:
        """The type of the first input; single precision where it is unknown."""
        return next(iter(self._dtypes), None) or np.dtype(np.float32)

    def take(self, name: str, default: T) -> T:
        """Remove an attribute and return its value; the default where it is absent."""
        for index, attribute in enumerate(self.node.attribute):
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                del self.node.attribute[index]
                return value.decode("utf-8", "replace") if isinstance(value, bytes) else value  # type: ignore[return-value]
        return default

    def set(self, name: str, value: object) -> None:
        """Set an attribute, whether or not the node has it."""
        self.take(name, None)
        self.node.attribute.append(onnx.helper.make_attribute(name, value))

    def has(self, name: str) -> bool:
        """Whether the node has an attribute."""
        return any(attribute.name == name for attribute in self.node.attribute)

    def rank(self, index: int) -> int:
        """The number of axes of an input.

        Raises:
            UnreadableNodeError: it is unknown.
        """
        shape = self.shapes[index] if index < len(self.shapes) else None
        if shape is None:
            raise UnreadableNodeError("whose inputs have an unknown number of axes")
        return len(shape)

    def constant(self, values: ArrayLike, what: str, dtype: DTypeLike = np.int64) -> str:
        """Add a constant tensor; its name."""
        name = self._new(f"{self.node.output[0]}/{what}")
        self._constants[name] = np.array(values, dtype)
        return name

    def feed(self, index: int, name: str) -> None:
        """Make a tensor the input at `index`; inputs before it that are missing are left out."""
        self.node.input.extend([""] * (index + 1 - len(self.node.input)))
        self.node.input[index] = name

    def before(self, op: str, inputs: Sequence[str], what: str, shape: Dims, **attributes: int) -> str:
        """Insert a node before this one; the name of its output."""
        name = self._new(f"{self.node.output[0]}/{what}")
        self._before.append(onnx.helper.make_node(op, inputs, [name], **attributes))  # type: ignore[arg-type]
        self._made[name] = shape
        return name

    def after(self, op: str, inputs: Sequence[str], what: str, shape: Dims) -> None:
        """Append a node that makes the output from what this one computes, [*shape], and further inputs."""
        output = self.node.output[0]
        name = self._new(f"{output}/{what}")
        self.node.output[0] = name
        self._made[name] = shape
        self._after.append(onnx.helper.make_node(op, [name, *inputs], [output]))


def align(node: Rewriting) -> None:
    """Before 7, `axis` said where the axes of B are in A; without it they are the last ones, as now."""
    broadcast, axis = node.take("broadcast", 0), node.take("axis", None)
    if not broadcast or axis is None:
        return
    outer, inner = node.rank(0), node.rank(1)
    start = axis + outer if axis < 0 else axis
    if not 0 <= start <= outer - inner:
        raise UnreadableNodeError(f"whose axis {axis} does not fit its inputs")
    _append_axes(node, outer - start - inner)


def align_slopes(node: Rewriting) -> None:
    """PRelu: before 7, a list of slopes was one per channel, on axis 1."""
    if None not in node.shapes[:2] and node.rank(1) == 1 and node.shapes[1] != (1,):
        _append_axes(node, node.rank(0) - 2)


def _append_axes(node: Rewriting, count: int) -> None:
    """Give input 1 that many axes of length 1 behind its own."""
    if count > 0:
        rank, shape = node.rank(1), node.shapes[1] or ()
        axes = node.constant(range(rank, rank + count), "axes")
        inputs = [node.node.input[1], axes]
        node.feed(1, node.before("Unsqueeze", inputs, "aligned", (*shape, *(1,) * count)))


def to_one_axis(node: Rewriting) -> None:
    """Softmax and its kind: before 13, over `axis`, by default 1, and all axes behind it together."""
    axis, shape = node.take("axis", 1), node.shapes[0]
    if shape is None:
        _flatten(node, axis, None, (None, None))
        return
    start = axis + len(shape) if axis < 0 else axis
    if not 0 <= start <= len(shape):
        raise UnreadableNodeError(f"whose axis {axis} does not exist")
    wide = [index for index in range(start, len(shape)) if shape[index] != 1]
    if start < len(shape) and len(wide) <= 1:
        node.set("axis", wide[0] if wide else start)
    else:
        _flatten(node, start, shape, (_product(shape[:start]), _product(shape[start:])))


def by_position(node: Rewriting) -> None:
    """BatchNormalization: before 9, each entry might have statistics of its own, as it had in a list."""
    if node.take("spatial", 1):
        return
    shape = node.shapes[0]
    for index in range(1, len(node.node.input)):
        inputs = [node.node.input[index], node.constant([-1], "length")]
        node.feed(index, node.before("Reshape", inputs, "list", (None,)))
    entries = None if shape is None else _product(shape[1:])
    _flatten(node, 1, shape, (None if shape is None else shape[0], entries), axis=None)


def _flatten(node: Rewriting, before: int, shape: Dims | None, matrix: Dims, axis: int | None = 1) -> None:
    """Apply it to the rows of a matrix, along `axis` if it has that, and restore the shape of the result."""
    source = node.node.input[0]
    node.feed(0, node.before("Flatten", [source], "flat", matrix, axis=before))
    if axis is not None:
        node.set("axis", axis)
    sizes = [size for size in shape or () if size is not None]
    if shape is not None and len(sizes) == len(shape):
        target = node.constant(sizes, "shape")
    else:
        target = node.before("Shape", [source], "shape", (None if shape is None else len(shape),))
    node.after("Reshape", [target], "rows", matrix)


def _product(sizes: Dims) -> int | None:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def spread_groups(node: Rewriting) -> None:
    """GroupNormalization: before 21, there was one scale and bias per group; now per channel."""
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
