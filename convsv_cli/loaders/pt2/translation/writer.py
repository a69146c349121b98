"""What a translation is written with: calls of ATen's operators to read, and nodes of ONNX to write."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from convsv_cli import limits
from convsv_cli.loaders.pt2.program import Node, Program
from convsv_cli.model.graph import Names

DTYPES = {
    1: TensorProto.UINT8,
    2: TensorProto.INT8,
    3: TensorProto.INT16,
    4: TensorProto.INT32,
    5: TensorProto.INT64,
    6: TensorProto.FLOAT16,
    7: TensorProto.FLOAT,
    8: TensorProto.DOUBLE,
    12: TensorProto.BOOL,
    13: TensorProto.BFLOAT16,
    28: TensorProto.UINT16,
}
"""ONNX's number of a type by that of torch's export schema."""
ENTRY = 24
"""Bytes for each entry of a constant while it is written."""
REALS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
Build = Callable[["Call"], "str | Sequence[str]"]
"""Writes what a call computes, and gives the names of its results, in the order of its outputs."""


class UntranslatedError(Exception):
    """A call in a form that has no translation; the reason, in words."""


@dataclass(kw_only=True, eq=False)
class Writer:
    """The nodes and constants written so far.

    Attributes:
        program: that is translated.
        names: of its tensors, none of which is taken for another.
        labels: of nodes, likewise.
        now: what tensors are called that were changed in place, by the program's names.
    """

    program: Program
    names: Names
    labels: Names = field(default_factory=Names)
    now: dict[str, str] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    types: dict[str, int] = field(default_factory=dict)

    def named(self, tensor: str) -> str:
        """What a tensor of the program is called in ONNX, after all that changed it in place."""
        before = []
        while tensor in self.now:
            before.append(tensor)
            tensor = self.now[tensor]
        self.now.update(dict.fromkeys(before, tensor))
        return tensor

    def emit(
        self,
        op: str,
        *inputs: str,
        outputs: int = 1,
        base: str = "",
        domain: str = "",
        **attributes: Any,  # noqa: ANN401
    ) -> tuple[str, ...]:
        """A node; the names of its results."""
        made = tuple(self.names.new(f"{base}.{op.lower()}" if base else op.lower()) for _ in range(outputs))
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(
            helper.make_node(op, inputs, made, name=self.labels.new(base or op), domain=domain, **given)
        )
        return made

    def room(self, *sizes: int) -> None:
        """See that a tensor of these sizes may be written out.

        Raises:
            LimitError: it would take more than the model may.
        """
        count = math.prod(sizes)
        limits.spend(count, "the constants of a program")
        limits.hold(ENTRY * count, "a constant of a program")

    def constant(self, values: Any, kind: int, base: str = "constant") -> str:  # noqa: ANN401
        """A tensor of stored values, of an ONNX type."""
        name = self.names.new(base)
        array = np.asarray(values)
        if kind == TensorProto.BFLOAT16:
            flat = [float(value) for value in array.ravel()]
            self.constants.append(helper.make_tensor(name, kind, array.shape, flat))
        else:
            dtype = helper.tensor_dtype_to_np_dtype(kind)
            with np.errstate(all="ignore"):
                self.constants.append(numpy_helper.from_array(array.astype(dtype), name))
        self.types[name] = kind
        return name


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One call of an operator, whose arguments have the operator's own names.

    Attributes:
        node: of the program.
        writer: to write to.
    """

    node: Node
    writer: Writer

    @property
    def program(self) -> Program:
        """In which the call is."""
        return self.writer.program

    @property
    def output(self) -> str:
        """The name of the first result."""
        return self.node.outputs[0]

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        """A node of one result; its name."""
        return self.several(op, *inputs, outputs=1, **attributes)[0]

    def several(self, op: str, *inputs: str, outputs: int, **attributes: Any) -> tuple[str, ...]:  # noqa: ANN401
        """A node; the names of its results."""
        return self.writer.emit(op, *inputs, outputs=outputs, base=self.node.name, **attributes)

    def has(self, name: str) -> bool:
        """Whether an argument is given, and is not None."""
        argument = self.node.arguments.get(name)
        if argument is None or argument.get("as_none"):
            return False
        optional = argument.get("as_optional_tensor")
        return optional is None or not optional.get("as_none")

    def tensor(self, name: str = "self") -> str:
        """What an argument is called in ONNX.

        Raises:
            UntranslatedError: it is no tensor.
        """
        found = self.node.tensor(name)
        if not found:
            raise UntranslatedError(f"its {name} is no tensor")
        return self.named(found)

    def optional(self, name: str) -> str:
        """The same; empty where it is left out."""
        return self.tensor(name) if self.has(name) else ""

    def listed(self, name: str) -> tuple[str, ...]:
        """What the tensors of a list are called in the program; empty for those left out."""
        argument = self.node.arguments.get(name, {})
        given = argument.get("as_tensors")
        if given is None:
            given = [(each.get("as_tensor") or {}) for each in argument.get("as_optional_tensors") or ()]
        return tuple(str(each.get("name", "")) for each in given)

    def named(self, tensor: str) -> str:
        """What a tensor of the program is called in ONNX."""
        return self.writer.named(tensor)

    def tensors(self, name: str) -> tuple[str, ...]:
        """What the tensors of a list are called in ONNX; empty for those left out."""
        return tuple(map(self.named, self.listed(name)))

    def shape(self, name: str = "self") -> tuple[int, ...]:
        """Sizes of a tensor argument."""
        return self.sizes_of(self.node.tensor(name))

    def shapes(self, name: str) -> list[tuple[int, ...]]:
        """Sizes of the tensors of a list."""
        return [self.sizes_of(each) for each in self.listed(name) if each]

    def result_shape(self) -> tuple[int, ...]:
        """Sizes of the first result."""
        return self.sizes_of(self.node.outputs[0])

    def sizes_of(self, name: str) -> tuple[int, ...]:
        """Sizes of a tensor of the program.

        Raises:
            UntranslatedError: they are not known.
        """
        if name not in self.program.shapes:
            raise UntranslatedError("sizes that are not known before it runs")
        return self.program.shapes[name]

    def kind(self, name: str = "") -> int:
        """The ONNX type of a tensor argument; of the first result where no name is given.

        Raises:
            UntranslatedError: ONNX has none.
        """
        return self.kind_of(self.node.tensor(name) if name else self.output)

    def kind_of(self, tensor: str) -> int:
        """The same of a tensor of the program."""
        kind = DTYPES.get(self.program.dtypes.get(tensor, 0))
        if kind is None:
            raise UntranslatedError("a type of numbers that is not translated")
        return kind

    def number(self, name: str, default: float | None = None) -> float:
        """A number, or what a size is; the default where it is left out.

        Raises:
            UntranslatedError: it is neither, or is missing.
        """
        if not self.has(name):
            if default is None:
                raise UntranslatedError(f"its {name} is missing")
            return default
        return self.program.number(self.node.arguments[name])

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole number; likewise."""
        found = self.number(name, default)
        if found != int(found):
            raise UntranslatedError(f"its {name} is no whole number")
        return int(found)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A truth value; likewise."""
        found = self.node.arguments.get(name, {}).get("as_bool", default)
        return bool(found)

    def text(self, name: str, default: str = "") -> str:
        """A word; likewise."""
        found = self.node.arguments.get(name, {}).get("as_string")
        return default if found is None else str(found)

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of numbers; empty where it is left out."""
        return self.program.numbers(self.node.arguments[name]) if self.has(name) else ()

    def wholes(self, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """A list of whole numbers; the default where it is left out, or one number as a list."""
        if not self.has(name):
            return tuple(default)
        return tuple(int(each) for each in self.numbers(name))

    def axes(self, name: str, rank: int) -> tuple[int, ...]:
        """A list of axes, none of them negative; all where it is empty or left out."""
        return tuple(axis % max(rank, 1) for axis in self.wholes(name)) or tuple(range(rank))

    def axis(self, name: str, rank: int, default: int | None = None) -> int:
        """One axis that is not negative.

        Raises:
            UntranslatedError: there is none: torch takes one number for a vector of one, and ONNX does not.
        """
        if not rank:
            raise UntranslatedError("an axis of one number")
        return self.whole(name, default) % rank

    def integers(self, *values: int) -> str:
        """A stored list of whole numbers."""
        return self.writer.constant(np.array(values, np.int64), TensorProto.INT64, "sizes")

    def scalar(self, value: float, kind: int) -> str:
        """A stored number."""
        return self.writer.constant(np.array(value), kind)

    def cast(self, tensor: str, before: int, after: int) -> str:
        """A tensor in another type."""
        return tensor if before == after else self.emit("Cast", tensor, to=after)

    def operand(self, name: str, kind: int) -> str:
        """A tensor or a number, in a type."""
        if self.node.tensor(name):
            return self.cast(self.tensor(name), self.kind(name), kind)
        return self.scalar(self.number(name), kind)

    def reshaped(self, tensor: str, shape: Sequence[int]) -> str:
        """A tensor in another shape."""
        return self.emit("Reshape", tensor, self.integers(*shape), allowzero=1 if 0 in shape else None)

    def transposed(self, tensor: str, order: Sequence[int]) -> str:
        """A tensor with its axes in another order."""
        return self.emit("Transpose", tensor, perm=list(order))
