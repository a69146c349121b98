"""Constant expressions: weights that reach their layer through casts, reshapes, norms and scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnx import NodeProto, SparseTensorProto, TensorProto

from convsv_cli.loaders.onnx import tensors
from convsv_cli.loaders.onnx.costs import BROADCASTING, Growth
from convsv_cli.loaders.onnx.evaluation import applied, named, reading, self_contained
from convsv_cli.loaders.onnx.history import own, standard_opset
from convsv_cli.loaders.onnx.scopes import Key, Scope
from convsv_cli.loaders.onnx.tensors import Array, Stored
from convsv_cli.model.graph import Constant, UnknownValueError
from convsv_cli.model.home import Home, homeless
from convsv_cli.model.layer import DEQUANTISED

MAX_NODES = 1000
# fmt: off
FOLDABLE = BROADCASTING | {
    "Abs", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Cos",
    "CumSum", "DequantizeLinear", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements",
    "GatherND", "Identity", "Log", "MatMul", "Neg", "Not", "QuantizeLinear", "Range", "Reciprocal",
    "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
    "Reshape", "Round", "ScatterND", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Slice", "Split", "Sqrt",
    "Squeeze", "Tanh", "Tile", "Transpose", "Trilu", "Unsqueeze",
}
ROUNDING = frozenset((
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Cos", "CumSum", "DequantizeLinear", "Exp", "Log", "MatMul",
    "Range", "Reciprocal", "ReduceL2", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Sigmoid",
    "ScatterND", "Sin", "Sqrt", "Tanh",
))
# fmt: on
REPLACEABLE = "the values are the stored defaults of the input {!r}, which callers may replace"
Step = tuple[Scope, NodeProto]


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Finds and computes the constants of one model.

    Attributes:
        model: its file.
        opsets: versions by domain.
        defaults: the initializers of the main graph that are defaults of its inputs.
        homes: where the values of initializers of the main graph come from, by name, where that is another
            file; None where they are the model's own.
        found: what was computed before, or why it could not be.
    """

    model: Path
    opsets: Mapping[str, int]
    defaults: frozenset[str] = frozenset()
    homes: Mapping[str, Callable[[], Home]] | None = None
    found: dict[Key, Constant | str] = field(default_factory=dict, repr=False)

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return standard_opset(self.opsets)

    def find(self, scope: Scope, name: str) -> Constant | None:
        """The constant that a name means in a scope; None where it depends on an input.

        What is computed for its shape is computed once.

        Raises:
            UnknownValueError: constant, but too large to compute, or by operators that are not computed.
            UnreadableModelError, UnsafeModelError: its values are not where the file says.
        """
        home, name = _untied(scope, name)
        source = home.find(name)[1]
        if isinstance(source, (TensorProto, SparseTensorProto)):
            tensors.check(source, self.model)
            stored = source
            return Constant(
                name=tensors.head(source).name or name,
                shape=tuple(source.dims),
                dtype=tensors.dtype_name(source),
                identity=(home.path, name),
                assumed=tuple(self._replaceable(home, name)),
                read=lambda: self._stored(stored),
                home=lambda: self._home(stored, name, main=home.parent is None),
            )
        if home.varies(name):
            return None
        key = home, name
        if key not in self.found:
            try:
                self.found[key] = self._computed(home, name)
            except UnknownValueError as error:
                self.found[key] = str(error)  # the error itself would keep all that was computed before it
        found = self.found[key]
        if isinstance(found, str):
            raise UnknownValueError(found)
        return found

    def _computed(self, home: Scope, name: str) -> Constant:
        plan = self._plan(home, name)
        result = self._compute(plan, home, name)
        return Constant(
            name=_origin(plan, name),
            shape=result.shape,
            dtype=str(result.dtype),
            identity=(home.path, name),
            assumed=tuple(dict.fromkeys((*_dequantised(plan), *self._defaults_in(plan)))),
            rounds=result.dtype.kind == "f" and any(node.op_type in ROUNDING for _, node in plan),
            read=lambda: self._compute(plan, home, name),
        )

    def _home(self, stored: Stored, name: str, *, main: bool) -> Home:
        if self.homes is None:
            return tensors.home(stored, self.model, main=main)
        return self.homes[name]() if main and name in self.homes else homeless()

    def _replaceable(self, home: Scope, name: str) -> Iterator[str]:
        """That callers may replace a stored tensor, if so."""
        if home.parent is None and name in self.defaults:
            yield REPLACEABLE.format(name)

    def _defaults_in(self, plan: list[Step]) -> Iterator[str]:
        """The same of all stored tensors that go into an expression."""
        for scope, node in plan:
            for operand in filter(None, node.input):
                yield from self._replaceable(*scope.key(operand))

    def _plan(self, scope: Scope, name: str) -> list[Step]:
        """The nodes to compute for a constant, in order."""
        steps: list[Step] = []
        seen: set[Key] = set()
        stack: list[tuple[Scope, str, NodeProto | None]] = [(scope, name, None)]
        while stack:
            here, wanted, finished = stack.pop()
            if finished is not None:
                steps.append((here, finished))
                continue
            home, source = here.find(wanted)
            if (home, wanted) in seen or isinstance(source, (TensorProto, SparseTensorProto)):
                continue
            seen.add((home, wanted))
            failed = self.found.get((home, wanted))
            if isinstance(failed, str):
                raise UnknownValueError(failed)  # then so does what depends on it
            if not isinstance(source, NodeProto) or not _foldable(source):
                operator = source.op_type if isinstance(source, NodeProto) else "tensor"
                raise UnknownValueError(f"a constant {operator}, which convsv does not compute")
            if len(seen) > MAX_NODES:
                raise UnknownValueError(f"a constant expression of more than {MAX_NODES} nodes")
            stack.append((home, wanted, source))
            stack.extend((home, operand, None) for operand in source.input if operand)
        return steps

    def _compute(self, plan: list[Step], scope: Scope, name: str) -> Array:
        """What a name means, after its plan; results are kept no longer than they are needed."""
        known: dict[Key, Array] = {}
        seen: set[Key] = set()
        growth = Growth()
        last = _last_uses(plan)
        for step, (home, node) in enumerate(plan):
            read = {name: self._operand(home, name, known) for name in dict.fromkeys(node.input)}
            operands = [read[name] for name in node.input]
            new = {home.key(operand) for operand in node.input} - seen
            growth.stored += sum(_stored_elements(home, operand) for home, operand in new)
            seen |= new
            newest = reading(self_contained(node, self.model), operands, self.opset)
            values = named(node.input, operands) | dict(newest.constants)
            for each in newest.nodes:
                inputs = [values.get(operand) for operand in each.input]
                growth.charge(each, inputs)
                values |= applied(each, inputs, self.opset)
            known |= {(home, output): values[output] for output in node.output if output in values}
            for key in last.get(step, ()):
                known.pop(key, None)
        home, _ = scope.find(name)
        result = known[home, name]
        growth.charge_reading(result.size, name)
        return result

    def _operand(self, scope: Scope, name: str, known: Mapping[Key, Array]) -> Array | None:
        if not name:
            return None
        home, source = scope.find(name)
        if isinstance(source, (TensorProto, SparseTensorProto)):
            tensors.check(source, self.model)
            return self._stored(source)
        return known[home, name]

    def _stored(self, source: Stored) -> Array:
        """The values of a tensor that was checked."""
        head = tensors.head(source)
        Growth(stored=math.prod(head.dims)).charge_reading(math.prod(source.dims), head.name)
        return tensors.values(source, self.model)


def _last_uses(plan: list[Step]) -> dict[int, list[Key]]:
    """What is not needed any more after each step."""
    last: dict[Key, int] = {}
    for step, (scope, node) in enumerate(plan):
        last |= {scope.key(operand): step for operand in node.input if operand}
    freed: dict[int, list[Key]] = {}
    for key, step in last.items():
        freed.setdefault(step, []).append(key)
    return freed


def _stored_elements(scope: Scope, name: str) -> int:
    """How many the tensor of this name has in the file; none where it is computed."""
    source = scope.find(name)[1]
    return math.prod(source.dims) if isinstance(source, TensorProto) else 0


def _dequantised(plan: list[Step]) -> Iterator[str]:
    """That values were dequantised, and from what."""
    for scope, node in plan:
        if node.op_type == "DequantizeLinear":
            source = scope.find(node.input[0])[1]
            if isinstance(source, (TensorProto, SparseTensorProto)):
                yield DEQUANTISED.format(tensors.dtype_name(source))
            else:
                yield DEQUANTISED.format("computed")


def _untied(scope: Scope, name: str) -> tuple[Scope, str]:
    """What is behind the Identity nodes by which exporters tie weights: where it is defined, and its name."""
    for _ in range(MAX_NODES):
        home, source = scope.find(name)
        if not (isinstance(source, NodeProto) and source.op_type == "Identity" and _foldable(source)):
            return home, name
        scope, name = home, source.input[0]
    return scope, name


def _foldable(node: NodeProto) -> bool:
    contributed = node.domain == "com.microsoft" and node.op_type == "DequantizeLinear"
    return (own(node) and node.op_type in FOLDABLE) or contributed


def _origin(plan: list[Step], name: str) -> str:
    """The largest stored tensor that goes into an expression: the one that users know the layer by."""
    stored = [
        source
        for scope, node in plan
        for operand in node.input
        if isinstance(source := scope.find(operand)[1], (TensorProto, SparseTensorProto))
    ]
    largest = max(stored, key=lambda tensor: math.prod(tensor.dims), default=None)
    return (tensors.head(largest).name if largest is not None else "") or name
