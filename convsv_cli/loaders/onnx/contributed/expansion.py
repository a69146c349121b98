"""A node of another domain that is being written as nodes of ONNX's own operators."""

from __future__ import annotations

import math
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto

from convsv_cli.loaders.onnx.signatures import UnreadableNodeError, attributes_of
from convsv_cli.loaders.onnx.tensors import Stored, external_file
from convsv_cli.model.graph import Names

T = TypeVar("T")
EINSUM = 12
"""The first operator set that has it."""
SLICED_BY_INPUTS, CLIPPED_BY_INPUTS = 10, 11
"""The operator sets in which attributes of Slice and Clip became inputs."""
MOST = 1024
"""Elements of the largest tensor whose values say how a node is read."""
UNKNOWN_RANK = "whose inputs have an unknown number of axes"
OTHER_RANK = "whose inputs have {found} axes, which convsv does not read"


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known around a node.

    Attributes:
        opset: of ONNX's own operators.
        real: the type of the model's numbers, which new constants have.
        tensors: those that are stored, by name.
        ranks: numbers of axes of tensors, by name; as far as they are known.
        used: names that some node reads, or that the graph gives.
        names: of tensors, of which no other is taken.
    """

    opset: int
    real: np.dtype
    tensors: MutableMapping[str, Stored | None]
    ranks: MutableMapping[str, int | None]
    used: frozenset[str]
    names: Names


class Expansion:
    """A node that is being read.

    Attributes:
        node: as the file has it.
        known: what is known around it.
        nodes: what it is read as so far, in order.
        constants: new tensors.
    """

    def __init__(self, node: NodeProto, known: Known) -> None:
        self.node, self.known = node, known
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._attributes = attributes_of(node)
        unknown = [each.name for each in node.attribute if each.name not in self._attributes]
        if unknown:
            raise UnreadableNodeError(f"whose attribute {unknown[0]!r} convsv does not know")

    def attribute(self, name: str, default: T) -> T:
        """Its value; the default where the node does not have it."""
        return self._attributes.get(name, default)  # type: ignore[no-any-return]

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Whether an attribute is 1; other numbers than 0 and 1 mean this here and that there."""
        value = self.attribute(name, int(default))
        if value not in (0, 1):
            raise UnreadableNodeError(f"whose {name} is {value}, and not 0 or 1")
        return bool(value)

    def attributes(self, *left_out: str) -> dict[str, Any]:
        """All that the node has, but for some."""
        return {name: value for name, value in self._attributes.items() if name not in left_out}

    def given(self, index: int) -> str:
        """The name of an input; empty where it is left out."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def needed(self, index: int) -> str:
        """The name of an input that must be there."""
        name = self.given(index)
        if not name:
            raise UnreadableNodeError(f"which lacks its input {index}")
        return name

    def asked_for(self, index: int) -> str:
        """The name of an output that something uses; else empty."""
        name = self.node.output[index] if index < len(self.node.output) else ""
        return name if name in self.known.used else ""

    def expect(self, *, inputs: int, outputs: Sequence[int] = (0,), absent: Sequence[int] = ()) -> None:
        """Refuse inputs behind so many, those that have to be absent, and further outputs that are used."""
        further = [*absent, *range(inputs, len(self.node.input))]
        given = [index for index in further if self.given(index)]
        if given:
            raise UnreadableNodeError(f"with an input {given[0]}, which convsv does not read")
        asked = [index for index in range(len(self.node.output)) if self.asked_for(index)]
        asked = [index for index in asked if index not in outputs]
        if asked:
            raise UnreadableNodeError(f"whose output {asked[0]} is used, which convsv does not read")

    def refuse(self, *names: str) -> None:
        """Refuse attributes that are set to anything but zero."""
        for name in names:
            value = self.attribute(name, 0)
            if value:
                raise UnreadableNodeError(f"whose {name} is {value}, which convsv does not read")

    def rank(self, name: str) -> int | None:
        """The number of axes of a tensor, where it is known."""
        return self.known.ranks.get(name)

    def stored(self, name: str) -> tuple[int, ...]:
        """The shape of a stored tensor.

        Raises:
            UnreadableNodeError: it is none.
        """
        return tuple(self._tensor(name).dims)

    def numbers(self, name: str) -> list[int]:
        """The values of a small stored tensor of whole numbers.

        Raises:
            UnreadableNodeError: it is none.
        """
        tensor = self._tensor(name)
        if not isinstance(tensor, TensorProto) or external_file(tensor) or math.prod(tensor.dims) > MOST:
            raise UnreadableNodeError(f"whose input {name!r} convsv does not read")
        return [int(value) for value in onnx.numpy_helper.to_array(tensor).ravel()]

    def _tensor(self, name: str) -> Stored:
        tensor = self.known.tensors.get(name)
        if tensor is None:
            raise UnreadableNodeError(f"whose input {name!r} is not stored in the file")
        return tensor

    def whole(self, values: ArrayLike) -> str:
        """Add a constant of whole numbers; its name."""
        return self._constant(np.array(values, np.int64))

    def real(self, values: ArrayLike) -> str:
        """Add a constant of the model's numbers; its name."""
        return self._constant(np.array(values, self.known.real))

    def _constant(self, values: np.ndarray) -> str:
        name = self.known.names.new(f"{self.node.output[0]}/constant")
        self.constants.append(onnx.numpy_helper.from_array(values, name))
        self.known.ranks[name] = values.ndim
        return name

    def emit(
        self, op: str, *inputs: str, what: str = "", rank: int | None = None, **attributes: object
    ) -> str:
        """Append a node; the name of its output.

        Args:
            op: one of ONNX's own.
            inputs: names of tensors; empty for one that is left out.
            what: it does for the node of the file, whose name it has if that is empty.
            rank: number of axes of the result, where that is known.
            attributes: of the node.
        """
        name = self.known.names.new(f"{self.node.output[0]}/{what or op}")
        label = f"{self.node.name}/{what}" if what and self.node.name else self.node.name
        self.nodes.append(onnx.helper.make_node(op, inputs, [name], label, **attributes))  # type: ignore[arg-type]
        if rank is not None:
            self.known.ranks[name] = rank
        return name

    def quantised(self, name: str) -> tuple[str, str, str]:
        """Codes of a tensor, their scale and their zero point, by DynamicQuantizeLinear."""
        found = [self.known.names.new(f"{self.node.output[0]}/{what}") for what in ("codes", "scale", "zero")]
        label = self.node.name and f"{self.node.name}/codes"
        self.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", [name], found, label))
        self.known.ranks.update({found[0]: self.rank(name), found[1]: 0, found[2]: 0})
        return found[0], found[1], found[2]

    def result(self, name: str, index: int = 0) -> None:
        """Make a tensor an output of the node of the file."""
        if not any(name in node.output for node in self.nodes):
            name = self.emit("Identity", name, what="same")
        output = self.node.output[index]
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, each in enumerate(names):
                    if each == name:
                        names[place] = output
        if name in self.known.ranks:
            self.known.ranks[output] = self.known.ranks[name]

    def permuted(self, name: str, before: str, after: str) -> str:
        """The axes of a tensor in another order; letters stand for them, and "..." for any before others.

        A tensor of an unknown number of axes is permuted by an Einsum, which accepts no other number than
        that of the letters: what is read wrongly by that has no bound, as it has no shape.
        """
        rank = self.rank(name)
        dots = before.startswith("...")
        letters = (before.removeprefix("..."), after.removeprefix("..."))
        size = len(letters[0])
        if rank is None:
            if self.known.opset < EINSUM:
                raise UnreadableNodeError(UNKNOWN_RANK)
            found = self.emit("Einsum", name, what="turned", equation=f"{before}->{after}")
            if not dots:
                self.known.ranks[found] = size
            return found
        if rank < size or (rank > size and not dots):
            raise UnreadableNodeError(OTHER_RANK.format(found=rank))
        if before == after:
            return name
        order = [*range(rank - size), *(rank - size + letters[0].index(each) for each in letters[1])]
        return self.emit("Transpose", name, what="turned", rank=rank, perm=order)

    def reshaped(self, name: str, sizes: Sequence[int], what: str = "reshaped") -> str:
        """In another shape, in which 0 is the size before."""
        return self.emit("Reshape", name, self.whole(sizes), what=what, rank=len(sizes))

    def sliced(self, name: str, start: int, stop: int, axis: int) -> str:
        """A part of a tensor along an axis."""
        rank = self.rank(name)
        if self.known.opset < SLICED_BY_INPUTS:
            window = {"starts": [start], "ends": [stop], "axes": [axis]}
            return self.emit("Slice", name, what="part", rank=rank, **window)
        places = [self.whole([each]) for each in (start, stop, axis)]
        return self.emit("Slice", name, *places, what="part", rank=rank)

    def times(self, name: str, factor: float, what: str = "scaled") -> str:
        """A multiple of a tensor."""
        if factor == 1:
            return name
        return self.emit("Mul", name, self.real(factor), what=what, rank=self.rank(name))

    def plus(self, name: str, addend: str, what: str = "sum") -> str:
        """With another tensor added, which may be left out and has no more axes."""
        return self.emit("Add", name, addend, what=what, rank=self.rank(name)) if addend else name
