"""A node that is brought up to date, with the nodes and constants that this takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import NodeProto

from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.model.graph import Dims

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
