"""Programs of torch.export as ONNX models: the operators of ATen in those of ONNX, at one input size.

What has no translation stays as a node of the domain "aten", for which there is no rule.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from convsv_cli import limits
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.pt2.program import Node, NoNumberError, Program
from convsv_cli.loaders.pt2.translation.aliases import Aliases
from convsv_cli.loaders.pt2.translation.operators import BUILDS
from convsv_cli.loaders.pt2.translation.writer import DTYPES, Call, UntranslatedError, Writer
from convsv_cli.model.graph import FOREIGN, Names

Array = NDArray[np.generic]
OPSET, IR_VERSION = 20, 10
DOMAIN = FOREIGN.removesuffix(".")
EACH = 20 * limits.OBJECT
"""Steps of the model's allowance for one call."""
MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What arguments raise that are not those of the operator."""
SILENT = ("sym_", "_assert", "operator.", "_operator.", "aten.sym_", "aten._assert", "_guards")
"""How operators begin that compute sizes, or check something, and give no tensors."""


def translated(program: Program, tensors: Mapping[str, StoredTensor], path: Path) -> ModelProto:
    """The ONNX model that computes what a program does; values of its constants stay in the archive.

    Args:
        program: at one input size.
        tensors: stored in the archive, by name.
        path: of the archive.

    Raises:
        UntranslatedError: it has no input or output, or its nodes contradict each other.
    """
    return _Translation(program, tensors, path).model()


class _Translation:
    def __init__(self, program: Program, tensors: Mapping[str, StoredTensor], path: Path) -> None:
        self._program, self._tensors, self._path = program, tensors, path
        taken = {*program.stored.values(), *program.inputs, *program.shapes}
        self._writer = Writer(program=program, names=Names(taken))
        self._aliases = Aliases(program=program)
        self._foreign: dict[str, ValueInfoProto] = {}
        self._known = {*program.inputs, *program.stored}
        self._writer.now.update(program.stored)
        self._check_names()

    def model(self) -> ModelProto:
        """All of it."""
        for node in self._program.nodes:
            limits.spend(EACH, "the graph of a program")
            if _is_silent(node.target):
                continue
            if node.outputs:
                self._call(node)
            else:
                self._aliases.check_kept(node)
        if not self._program.outputs or not self._program.inputs:
            raise UntranslatedError("it takes, or gives, no tensors")
        outputs: dict[str, ValueInfoProto] = {}
        for name in self._program.outputs:
            found = self._result(name, outputs)
            outputs[found.name] = found
        graph = helper.make_graph(
            self._writer.nodes,
            "program",
            [self._value(name) for name in self._program.inputs],
            list(outputs.values()),
            [*self._initializers(), *self._writer.constants],
            value_info=list(self._foreign.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _check_names(self) -> None:
        """See that no tensor of the program has the name that one has in the file.

        Raises:
            UntranslatedError: one has, and would be taken for it.
        """
        program = self._program
        own = {*program.inputs, *program.stored, *(name for node in program.nodes for name in node.outputs)}
        if both := own.intersection(program.stored.values()):
            raise UntranslatedError(f"{min(both)!r} is the name of a stored tensor, and of another one")

    def _call(self, node: Node) -> None:
        """One call; what it gives has the names of the program."""
        missing = [name for name in node.tensors if name not in self._known]
        if missing:
            raise UntranslatedError(f"{node.name!r} takes {missing[0]!r}, which nothing before it gives")
        if twice := self._known.intersection(node.outputs):
            raise UntranslatedError(f"{node.name!r} gives {min(twice)!r}, which is there already")
        operator = node.target.removeprefix("aten.").partition(".")[0]
        in_place = node.target.startswith("aten.") and operator.endswith("_") and operator not in BUILDS
        start = len(self._writer.nodes)
        build = BUILDS.get(operator.removesuffix("_") if in_place else operator)
        made = self._foreign_call(node) if build is None else None
        if build is not None:
            try:
                found = build(Call(node=node, writer=self._writer))
                made = [found] if isinstance(found, str) else list(found)
            except (UntranslatedError, NoNumberError, limits.LimitError, *MALFORMED) as error:
                del self._writer.nodes[start:]
                made = self._foreign_call(node, str(error))
        self._name(node, made or [], start)
        if not node.target.startswith("aten.") or node.target.endswith("out") or "out" in node.arguments:
            self._aliases.check_kept(node)
        self._aliases.note(node, operator, known=build is not None)
        if in_place:
            changed = self._aliases.changed(node)
            self._writer.now[changed] = node.outputs[0]

    def _name(self, node: Node, made: list[str], start: int) -> None:
        """Have results the names of the program; those that nothing gives are not known."""
        names = dict(zip(made, node.outputs, strict=False))
        fresh = {name for each in self._writer.nodes[start:] for name in each.output}
        for each in self._writer.nodes[start:]:
            for ends in (each.input, each.output):
                for i, name in enumerate(ends):
                    if name in names and name in fresh:
                        ends[i] = names[name]
        for result, name in zip(made, node.outputs, strict=False):
            if result and result not in fresh:
                self._writer.nodes.append(helper.make_node("Identity", [result], [name], name=f"{name}.same"))
        self._known.update(name for result, name in zip(made, node.outputs, strict=False) if result)

    def _foreign_call(self, node: Node, reason: str = "") -> list[str]:
        """A node of a domain of its own, with what is known of its results."""
        operands = [self._writer.named(name) for name in node.tensors]
        op = node.target.removeprefix("aten.").replace(".", "_")
        made = self._writer.emit(
            op,
            *operands,
            outputs=len(node.outputs),
            base=node.name,
            domain=DOMAIN,
            reason=reason or None,
        )
        for name in node.outputs:
            if name in self._program.shapes:
                self._foreign[name] = self._value(name)
        return list(made)

    def _value(self, name: str) -> ValueInfoProto:
        kind = DTYPES.get(self._program.dtypes.get(name, 0))
        if kind is None:
            raise UntranslatedError(f"{name!r} has a type of numbers that is not translated")
        return helper.make_tensor_value_info(name, kind, self._program.shapes.get(name))

    def _result(self, name: str, others: Container[str]) -> ValueInfoProto:
        """An output, which some node must give: one of its own, for what is given twice changes twice."""
        now = self._writer.named(name)
        if name not in self._known:
            raise UntranslatedError(f"nothing gives the output {name!r}")
        if now in self._program.inputs or now in self._program.stored.values() or now in others:
            (given,) = self._writer.emit("Identity", now, base=name)
            value = self._value(name)
            value.name = given
            return value
        value = self._value(name)
        value.name = now
        return value

    def _initializers(self) -> Iterator[TensorProto]:
        used = {name for node in self._writer.nodes for name in node.input}
        for stored in dict.fromkeys(self._program.stored.values()):
            if stored in used:
                yield self._initializer(stored)

    def _initializer(self, stored: str) -> TensorProto:
        """A constant whose values are where the archive has them; embedded, where these are not in a row."""
        tensor = self._tensors.get(stored)
        if tensor is None or tensor.unusable:
            reason = "is not in the file" if tensor is None else f"cannot be read: {tensor.unusable}"
            raise UntranslatedError(f"the tensor {stored!r} {reason}")
        kind = getattr(TensorProto, _onnx_name(tensor.dtype), None)
        if kind is None:
            raise UntranslatedError(f"the tensor {stored!r} is of {tensor.dtype}")
        size = helper.tensor_dtype_to_np_dtype(kind).itemsize
        place = _in_a_row(tensor)
        if place is None:
            return numpy_helper.from_array(_values(tensor, kind), stored)
        made = TensorProto(name=stored, data_type=kind, dims=tensor.shape, data_location=TensorProto.EXTERNAL)
        start, offset = place
        where = {
            "location": self._path.name,
            "offset": start + offset * size,
            "length": math.prod(tensor.shape) * size,
        }
        for key, value in where.items():
            entry = made.external_data.add()
            entry.key, entry.value = key, str(value)
        return made


def _is_silent(target: str) -> bool:
    return target.startswith(SILENT)


def _onnx_name(dtype: str) -> str:
    """ONNX's name for a type that torch calls so."""
    return {"float32": "FLOAT", "float64": "DOUBLE"}.get(dtype, dtype.upper())


def _in_a_row(tensor: StoredTensor) -> tuple[int, int] | None:
    """The byte where its record begins, and the values before its own; None where these are not in a row."""
    if not isinstance(tensor.identity, tuple):
        return None
    start, offset, strides = tensor.identity
    expected = [math.prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape))]
    sizes = zip(tensor.shape, strides, expected, strict=True)
    return (start, offset) if all(size == 1 or stride == own for size, stride, own in sizes) else None


def _values(tensor: StoredTensor, kind: int) -> Array:
    """The values, in a type of numpy's, or of those beside it."""
    limits.hold(math.prod(tensor.shape) * 8, "a constant of the program")
    found = tensor.read().contiguous()
    whole = found.float() if kind == TensorProto.BFLOAT16 else found
    return whole.numpy().astype(helper.tensor_dtype_to_np_dtype(kind))
