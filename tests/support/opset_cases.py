"""Nodes of every operator set at which operators changed, and what independent runtimes make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.version_converter import convert_version

from tests.support import runtime

LAST = onnx.defs.onnx_opset_version()
CONVERTED = 21
"""An operator set that onnxruntime has, to which older models are converted."""
ERRORS = (Exception,)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A node that is valid from one operator set to another.

    `means` is the same said in the operator set `CONVERTED`, for what no runtime and no converter reads.
    """

    op: str
    inputs: Sequence[np.ndarray | None]
    attributes: Mapping[str, object] = field(default_factory=dict)
    first: int = 1
    last: int = LAST
    outputs: int = 1
    means: Case | None = None

    def __str__(self) -> str:
        shapes = "-".join("x".join(map(str, a.shape)) for a in self.inputs if a is not None)
        return f"{self.op}({shapes})-{'-'.join(f'{k}={v}' for k, v in self.attributes.items())}"

    @property
    def fed(self) -> dict[str, np.ndarray]:
        return {f"x{i}": np.asarray(array) for i, array in enumerate(self.inputs) if array is not None}

    def node(self) -> onnx.NodeProto:
        names = [f"x{i}" if array is not None else "" for i, array in enumerate(self.inputs)]
        return helper.make_node(self.op, names, [f"y{i}" for i in range(self.outputs)], **self.attributes)

    def model(self, opset: int, *, moving: Sequence[str] | None = None) -> ModelProto:
        """All inputs are fed, or only some, and the others stored."""
        fed = {name: array for name, array in self.fed.items() if moving is None or name in moving}
        stored = {name: array for name, array in self.fed.items() if name not in fed}
        graph = helper.make_graph(
            [self.node()],
            "g",
            [_info(name, array) for name, array in fed.items()],
            [_output(f"y{i}", self._kind(opset)) for i in range(self.outputs)],
            [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)

    def _kind(self, opset: int) -> int:
        """The type of its outputs, where the operator has only one."""
        found = onnx.defs.get_schema(self.op, opset, "").outputs[0].type_str
        if "tensor(" in found:
            return TensorProto.DataType.Value(found[len("tensor(") : -1].upper())
        return 0


def _info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _output(name: str, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, None) if kind else onnx.ValueInfoProto(name=name)


@cache
def versions(op: str) -> tuple[int, ...]:
    """Every operator set that changed an operator."""
    own = [schema for schema in _schemas() if schema.name == op and schema.domain == ""]
    return tuple(sorted(schema.since_version for schema in own if schema.since_version <= LAST))


@cache
def _schemas() -> list[onnx.defs.OpSchema]:
    return onnx.defs.get_all_schemas_with_history()


def of_every_version(cases: Sequence[Case]) -> Iterator[tuple[Case, int]]:
    """Each with each operator set that changed its operator, as long as it is valid there."""
    for case in cases:
        for opset in versions(case.op):
            if case.first <= opset <= case.last:
                yield case, opset


def results(case: Case, opset: int) -> Iterator[list[np.ndarray]]:
    """What runtimes that know such a node make of it: onnxruntime, onnx's reference, both after conversion.

    onnx's reference knows operators from 7 on; of the softmax kind, only as they are from 13 on.
    """
    model = case.model(opset)
    yield from _run(model, case.fed, reference=opset >= 7)
    if case.means is not None:
        yield from _run(case.means.model(CONVERTED), case.means.fed)
    elif opset < 13:
        with suppress(*ERRORS):
            yield from _run(convert_version(model, CONVERTED), case.fed)


def _run(model: ModelProto, fed: Mapping[str, np.ndarray], *, reference: bool = True) -> Iterator[list]:
    with suppress(*ERRORS):
        yield runtime.session(model, rewritten=False).run(None, dict(fed))
    if reference:
        with suppress(*ERRORS), np.errstate(all="ignore"):
            yield [np.asarray(value) for value in ReferenceEvaluator(model).run(None, dict(fed))]
