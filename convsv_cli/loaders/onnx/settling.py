"""Values that follow from shapes, and the shapes that follow from these, in one pass over the nodes.

Shape inference of a whole graph stops at arithmetic that it does not follow, such as a size divided by that
of a window; deep networks have that in every block. So here each node is inferred and computed by itself,
after those that it needs. In a child process, as all inference: see `confined`.

Neither does that inference see in a body what constants around it hold, nor which branch of an If is taken.
What is found there is written down, so that it goes on from it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto
from onnx.helper import make_node, make_tensor_type_proto
from onnx.shape_inference import infer_node_outputs

from convsv_cli.loaders.onnx.constants import Constants
from convsv_cli.loaders.onnx.history import own
from convsv_cli.loaders.onnx.scopes import RANDOM, Key, Scope, bodies, scopes
from convsv_cli.loaders.onnx.shapes import frozen
from convsv_cli.model.graph import UnknownValueError

SMALL = 1024
"""Elements of the largest tensor that may be a shape, which inference needs to see."""
NO_FILE = Path("model.onnx")
"""Nothing of a skeleton is outside it."""


def settle(model: ModelProto) -> None:
    """Replace small constants by their values, and those that the known shapes decide; CastLike by a Cast.

    Args:
        model: a skeleton with whatever shapes are known; changed in place, but of what it says of shapes,
            only what it says of those in bodies, and of results of If.
    """
    opsets = list(model.opset_import)
    constants = Constants(model=NO_FILE, opsets={each.domain: each.version for each in opsets})
    pass_ = _Pass(opsets=opsets, constants=constants)
    found = list(scopes(model.graph))
    for scope in found:
        pass_.read(scope)
    pass_.run(found[0])
    for (scope, name), type_ in pass_.found.items():
        _note(scope, name, type_)


def _note(scope: Scope, name: str, type_: TypeProto) -> None:
    """Write down the type of a tensor in its graph."""
    known = {value.name: value for value in (*scope.graph.value_info, *scope.graph.output)}
    value = known[name] if name in known else scope.graph.value_info.add(name=name)
    value.type.CopyFrom(type_)


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """One pass; `types` and the small `values` are those of the tensors before the node it is at.

    `found` are the types that inference of the whole graph does not find.
    """

    opsets: list[OperatorSetIdProto]
    constants: Constants
    types: dict[Key, TypeProto] = field(default_factory=dict)
    values: dict[Key, TensorProto] = field(default_factory=dict)
    found: dict[Key, TypeProto] = field(default_factory=dict)

    def run(self, scope: Scope) -> None:
        """Visit the nodes of a graph in order, those in the bodies of a node before what follows it."""
        for node, inner in scope.with_bodies():
            for body in inner:
                self.run(body)
            if inner:
                self._choose(node, scope, inner)
            else:
                self.visit(node, scope)

    def _choose(self, node: NodeProto, scope: Scope, inner: Sequence[Scope]) -> None:
        """The types of an If whose condition is known are those of the branch that it takes."""
        names = [name for name, _ in bodies(node)]
        condition = self.values.get(scope.key(node.input[0])) if len(node.input) == 1 else None
        if node.op_type != "If" or not own(node) or condition is None:
            return
        branch = "then_branch" if onnx.numpy_helper.to_array(condition).any() else "else_branch"
        taken = dict(zip(names, inner, strict=True)).get(branch)
        results = () if taken is None else zip(node.output, taken.graph.output, strict=False)
        for name, value in results:
            type_ = self.types.get(taken.key(value.name)) if taken is not None else None
            if name and type_ is not None and self._sizes(scope, name) is None:
                self.types[scope, name] = self.found[scope, name] = type_

    def read(self, scope: Scope) -> None:
        """What a graph says of its tensors."""
        graph = scope.graph
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.tensor_type.elem_type:
                self.types[scope, value.name] = value.type
        for tensor in graph.initializer:
            self._keep(scope, tensor.name, tensor)

    def visit(self, node: NodeProto, scope: Scope) -> None:
        """Infer the types of a node's results, and its value where that is a small constant."""
        self._freeze(node, scope)
        if node.op_type not in RANDOM and not any(scope.varies(name) for name in node.input if name):
            scope.varying.difference_update(node.output)
        if not all(self._sizes(scope, name) is not None for name in node.output if name):
            self._infer(node, scope)
        if len(node.output) == 1 and not scope.varies(node.output[0]):
            self._fold(node, scope)

    def _keep(self, scope: Scope, name: str, tensor: TensorProto) -> None:
        self.types[scope, name] = make_tensor_type_proto(tensor.data_type, tensor.dims)
        if math.prod(tensor.dims) <= SMALL:
            self.values[scope, name] = tensor

    def _sizes(self, scope: Scope, name: str) -> tuple[int, ...] | None:
        """All dimensions of a tensor; None where one is not known."""
        type_ = self.types.get(scope.key(name))
        if type_ is None or not type_.tensor_type.HasField("shape"):
            return None
        dims = type_.tensor_type.shape.dim
        return tuple(dim.dim_value for dim in dims) if all(d.HasField("dim_value") for d in dims) else None

    def _freeze(self, node: NodeProto, scope: Scope) -> None:
        """Compute what follows from the inputs' shapes and types alone."""
        first, second = (*node.input, "", "")[:2]
        like = self.types.get(scope.key(second))
        kind = 0 if like is None else like.tensor_type.elem_type
        if frozen(node, self._sizes(scope, first), kind) and node.op_type == "Constant":
            scope.varying.difference_update(node.output)

    def _infer(self, node: NodeProto, scope: Scope) -> None:
        """Infer the types of the results from those of the inputs, as far as the operator is onnx's."""
        names = [name for name in dict.fromkeys(node.input) if name]
        types = {name: self.types.get(scope.key(name)) for name in names}
        known = {name: type_ for name, type_ in types.items() if type_ is not None}
        values = {name: self.values[key] for name in names if (key := scope.key(name)) in self.values}
        if len(known) < len(names) or not own(node):
            return
        with contextlib.suppress(Exception):  # onnx raises many types; the whole inference says why
            schema = onnx.defs.get_schema(node.op_type, self.constants.opset, "")
            found = infer_node_outputs(schema, node, known, values, opset_imports=self.opsets)
            for name, type_ in found.items():
                if type_.tensor_type.elem_type:
                    self.types[scope, name] = type_
                    if scope.parent is not None:
                        self.found[scope, name] = type_

    def _fold(self, node: NodeProto, scope: Scope) -> None:
        """Compute a small constant, such as the pads that torch exports as expressions.

        What depends on a large tensor is not computed here: it would be large as well, and is no shape.
        """
        sizes = self._sizes(scope, node.output[0])
        if sizes is not None and math.prod(sizes) > SMALL:
            return
        if not all(scope.key(name) in self.values for name in node.input if name):
            return
        with contextlib.suppress(UnknownValueError):
            constant = self.constants.find(scope, node.output[0])
            if constant is not None and math.prod(constant.shape) <= SMALL:
                tensor = onnx.numpy_helper.from_array(constant.read())
                if node.op_type != "Constant":
                    node.CopyFrom(make_node("Constant", [], node.output, node.name, value=tensor))
                self._keep(scope, node.output[0], tensor)
