"""Formulas as ONNX nodes: each operation on a `Term` writes a node in the spelling of the opset at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

SOURCE, RESULT = "x", "y"
AXES_AS_INPUT = {
    **dict.fromkeys(("ReduceSum", "Squeeze", "Unsqueeze"), 13),
    **dict.fromkeys(
        (
            *("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"),
            *("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"),
        ),
        18,
    ),
}
"""From which opset on an operator takes its axes as an input."""
Number = float | int | np.ndarray


class UnavailableError(Exception):
    """An operator that the opset does not have."""


class Sheet:
    """Nodes and constants, as they are written down.

    Args:
        opset: of the model.
        kind: of its real numbers, `TensorProto.FLOAT` or `DOUBLE`.
    """

    def __init__(self, opset: int, kind: int = TensorProto.FLOAT) -> None:
        self.opset, self.kind = opset, kind
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    @classmethod
    def of(cls, build: Spelling, opset: int, kind: int = TensorProto.FLOAT) -> tuple[Sheet, Term]:
        """One with a spelling on it, and the result.

        Raises:
            UnavailableError: the opset lacks one of its operators.
        """
        sheet = cls(opset, kind)
        return sheet, build(sheet.source())

    def source(self) -> Term:
        """The input."""
        return Term(self, SOURCE)

    def term(self, value: Term | Number) -> Term:
        """A constant; numbers that are none of an array are of the model's kind."""
        if isinstance(value, Term):
            return value
        array = np.asarray(value)
        if array.dtype.kind == "f" or not isinstance(value, np.ndarray):
            array = array.astype(helper.tensor_dtype_to_np_dtype(self.kind))
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return Term(self, name)

    def write(self, op: str, *inputs: Term | Number, outputs: int = 1, **attributes: object) -> list[Term]:
        """A node.

        Raises:
            UnavailableError: the opset has no such operator.
        """
        try:
            onnx.defs.get_schema(op, self.opset)
        except onnx.defs.SchemaError as error:
            raise UnavailableError(op) from error
        terms = [self.term(each) for each in inputs]
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, [each.name for each in terms], names, **attributes))
        return [Term(self, name) for name in names]

    def model(self, result: Term, shape: Sequence[int], *asides: Term) -> ModelProto:
        """From the input to the result, and to what else is an output."""
        names = {result.name: RESULT}
        outputs = [helper.make_tensor_value_info(RESULT, self.kind, None)]
        for i, aside in enumerate(asides):
            names[aside.name] = f"aside{i}"
            outputs.append(onnx.ValueInfoProto(name=f"aside{i}"))
        graph = helper.make_graph(
            [_renamed(node, names) for node in self.nodes],
            "formula",
            [helper.make_tensor_value_info(SOURCE, self.kind, shape)],
            outputs,
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        imports = [helper.make_opsetid("", self.opset)]
        return onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=imports, ir_version=8)
        )


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    return copy


class Term:
    """A tensor of a sheet; calling it with an operator's name applies that."""

    def __init__(self, sheet: Sheet, name: str) -> None:
        self.sheet, self.name = sheet, name

    def __call__(self, op: str, *others: Term | Number, **attributes: object) -> Term:
        """op(self, *others)."""
        return self.sheet.write(op, self, *others, **attributes)[0]

    def constant(self, value: Number) -> Term:
        """On the same sheet."""
        return self.sheet.term(value)

    def parts(self, count: int, axis: int) -> list[Term]:
        """Equal parts along an axis; Split takes their number as an attribute from opset 18 on."""
        numbered = {"num_outputs": count} if self.sheet.opset >= 18 else {}
        return self.sheet.write("Split", self, outputs=count, axis=axis, **numbered)

    def reduced(self, op: str, axes: int | Sequence[int], *, keepdims: bool = True) -> Term:
        """Reduce{op} along axes."""
        return self._along(f"Reduce{op}", axes, keepdims=int(keepdims))

    def mean(self, axes: int | Sequence[int] = -1, *, keepdims: bool = True) -> Term:
        """Along axes."""
        return self.reduced("Mean", axes, keepdims=keepdims)

    def sum(self, axes: int | Sequence[int] = -1, *, keepdims: bool = True) -> Term:
        """Along axes."""
        return self.reduced("Sum", axes, keepdims=keepdims)

    def unsqueezed(self, axes: int | Sequence[int]) -> Term:
        """With new axes of size 1."""
        return self._along("Unsqueeze", axes)

    def reshaped(self, *sizes: int) -> Term:
        """With these sizes."""
        return self("Reshape", np.array(sizes, np.int64))

    def clipped(self, low: float | None, high: float | None = None) -> Term:
        """Within bounds."""
        bounds = [self.sheet.term(low).name if low is not None else ""]
        bounds += [self.sheet.term(high).name] if high is not None else []
        return self("Clip", *(Term(self.sheet, name) for name in bounds))

    def cast(self, kind: int | None = None) -> Term:
        """Of another type; of the model's own by default."""
        return self("Cast", to=self.sheet.kind if kind is None else kind)

    def where(self, yes: Term | Number, no: Term | Number) -> Term:
        """Where this is true, the first."""
        return self("Where", yes, no)

    def __neg__(self) -> Term:
        return self("Neg")

    def __add__(self, other: Term | Number) -> Term:
        return self("Add", other)

    def __radd__(self, other: Number) -> Term:
        return self.sheet.term(other)("Add", self)

    def __sub__(self, other: Term | Number) -> Term:
        return self("Sub", other)

    def __rsub__(self, other: Number) -> Term:
        return self.sheet.term(other)("Sub", self)

    def __mul__(self, other: Term | Number) -> Term:
        return self("Mul", other)

    def __rmul__(self, other: Number) -> Term:
        return self.sheet.term(other)("Mul", self)

    def __truediv__(self, other: Term | Number) -> Term:
        return self("Div", other)

    def __rtruediv__(self, other: Number) -> Term:
        return self.sheet.term(other)("Div", self)

    def __pow__(self, other: Number) -> Term:
        return self("Pow", other)

    def __lt__(self, other: Term | Number) -> Term:
        return self("Less", other)

    def __gt__(self, other: Term | Number) -> Term:
        return self("Greater", other)

    def _along(self, op: str, axes: int | Sequence[int], **attributes: object) -> Term:
        axes = [axes] if isinstance(axes, int) else list(axes)
        if self.sheet.opset >= AXES_AS_INPUT[op]:
            return self(op, np.array(axes, np.int64), **attributes)
        return self(op, axes=axes, **attributes)


Term.__array_ufunc__ = None  # arrays leave what they are combined with to the term


Spelling = Callable[[Term], Term]
