"""Weights that a program computes from stored tensors: views, casts, and what weight_norm and the like do.

The operators' names choose among functions that are written here; nothing is looked up in torch by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from convsv_cli import limits
from convsv_cli.loaders.loader import TOO_LARGE, StoredTensor, is_real, outgrows
from convsv_cli.loaders.pt2.archive import DTYPES
from convsv_cli.loaders.pt2.program import Node, NoNumberError, Program

MAX_NODES = 1000
PLANNED, COMPUTED, ENTRY = 10 * limits.OBJECT, 20 * limits.OBJECT, 4
"""Steps of the model's allowance: for operators and operands looked at, those computed, and entries."""
SHARE = 0.5
"""Of all steps, that constants may take."""
NOT_CONSTANT = "its weight is computed from the network's input"


class NotComputableError(Exception):
    """The expression is constant, but by operators that are not computed, or too large."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A constant of the graph.

    Attributes:
        name: of the largest stored tensor that its values come from.
        parts: of all of those.
        tensor: as it arrives at the layer.
    """

    name: str
    parts: tuple[str, ...]
    tensor: StoredTensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Expressions:
    """The constants of a program, each looked for once however many nodes use it.

    Attributes:
        program: of which they are.
        tensors: in the file.
    """

    program: Program
    tensors: Mapping[str, StoredTensor]
    _weights: dict[str, Weight | str] = field(default_factory=dict)
    _parts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def find(self, name: str) -> Weight:
        """The constant of this name.

        Raises:
            NotComputableError: it depends on the network's input, or convsv does not compute it.
        """
        if name not in self._weights:
            try:
                self._weights[name] = _find(self.program, self.tensors, name)
            except NotComputableError as error:
                self._weights[name] = str(error)
        found = self._weights[name]
        if isinstance(found, str):
            raise NotComputableError(found)
        return found

    def parts(self, name: str) -> tuple[str, ...]:
        """The stored tensors that a constant comes from; none where it is none that convsv computes."""
        if name not in self._parts:
            self._parts[name] = _parts_of(self.program, name)
        return self._parts[name]


def _find(program: Program, tensors: Mapping[str, StoredTensor], name: str) -> Weight:
    if not program.is_constant(name):
        raise NotComputableError(NOT_CONSTANT)
    stored = program.stored.get(name)
    if stored is not None:
        return Weight(name=stored, parts=(stored,), tensor=_of(tensors, stored))
    plan = list(_plan(program, name))
    parts = _parts(program, plan)
    unusable = next((reason for part in parts if (reason := _of(tensors, part).unusable)), "")
    if unusable:
        raise NotComputableError(unusable)
    value = _compute(plan, program, tensors, name)
    largest = max(parts, key=lambda part: math.prod(tensors[part].shape))
    stored_as = tensors[largest].dtype
    return Weight(
        name=largest,
        parts=parts,
        tensor=StoredTensor(
            shape=tuple(value.shape),
            dtype=stored_as if is_real(stored_as) else str(value.dtype).removeprefix("torch."),
            read=lambda: _compute(plan, program, tensors, name),
            identity=_structure(plan, program),
        ),
    )


def _parts_of(program: Program, name: str) -> tuple[str, ...]:
    stored = program.stored.get(name)
    if stored is not None:
        return (stored,)
    try:
        return _parts(program, list(_plan(program, name)))
    except NotComputableError:
        return ()


def _parts(program: Program, plan: list[Node]) -> tuple[str, ...]:
    leaves = (other for node in plan for other in node.tensors if other in program.stored)
    return tuple(dict.fromkeys(program.stored[leaf] for leaf in leaves))


def _structure(plan: list[Node], program: Program) -> Hashable:
    """Equal for equal expressions, whatever the names in them."""
    numbers = {name: index for index, node in enumerate(plan) for name in node.outputs}
    return tuple(
        (
            node.target,
            tuple(program.stored.get(name, numbers.get(name)) for name in node.tensors),
            node.settings,
        )
        for node in plan
    )


def _of(tensors: Mapping[str, StoredTensor], stored: str) -> StoredTensor:
    if stored not in tensors:
        raise NotComputableError(f"the tensor {stored!r} is not in the file")
    return tensors[stored]


def _plan(program: Program, name: str) -> Iterator[Node]:
    """The nodes to compute for a constant, in the program's order, which is one to compute them in."""
    wanted, pending = set[Node](), [name]
    while pending:
        maker = program.makers.get(pending.pop())
        if maker is not None and maker not in wanted:
            _spend(PLANNED * (1 + len(maker.tensors)), name)
            wanted.add(maker)
            pending.extend(maker.tensors)
    if len(wanted) > MAX_NODES:
        raise NotComputableError(f"a constant expression of more than {MAX_NODES} operators")
    yield from sorted(wanted, key=lambda node: node.position)


def _compute(
    plan: list[Node], program: Program, tensors: Mapping[str, StoredTensor], name: str
) -> torch.Tensor:
    known: dict[str, torch.Tensor] = {}
    stored = sum(math.prod(_of(tensors, part).shape) for part in _parts(program, plan))
    last = {other: node for node in plan for other in node.tensors}
    made = 0

    def value(node: Node, argument: str) -> torch.Tensor:
        other = node.tensor(argument)
        if not other:
            return torch.tensor(node.number(argument, 0.0), dtype=torch.float64)
        return known[other] if other in known else _of(tensors, program.stored[other]).read()

    for node in plan:
        operation = OPERATIONS.get(node.target)
        if operation is None:
            raise NotComputableError(f"a constant {node.target}, which convsv does not compute")
        try:
            operands = [value(node, argument) for argument in OPERANDS.get(node.target, ("self",))]
            new = _elements(node, operands)
            made += new
            if outgrows(made, stored):
                raise NotComputableError(TOO_LARGE)
            _spend(COMPUTED + ENTRY * (new + sum(operand.numel() for operand in operands)), node.name)
            known[node.outputs[0]] = operation(node, *operands)
        except (*MALFORMED, NoNumberError) as error:
            raise NotComputableError(f"a constant {node.target} that cannot be computed") from error
        for done in {other for other in node.tensors if last[other] is node} - {name}:
            known.pop(done, None)
    if name not in known:
        raise NotComputableError("a constant that is a further result of an operator")
    return known[name]


def _spend(steps: float, name: str) -> None:
    """Take steps of what the model may take, before they are done."""
    try:
        limits.spend(steps, lambda: f"the constant {name!r}", share=SHARE)
    except limits.LimitError as error:
        raise NotComputableError(f"one of more constants than convsv computes: {error}") from error


def _elements(node: Node, operands: list[torch.Tensor]) -> int:
    """How many values an operator makes, at most; those that only look at a tensor otherwise make none."""
    if node.target in VIEWS and node.target not in COPIES:
        return 0
    if node.target in BROADCASTING:
        return math.prod(np.broadcast_shapes(*(operand.shape for operand in operands)))
    return sum(operand.numel() for operand in operands)


def _weight_norm(node: Node, v: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    dim = int(node.number("dim", 0))
    axes = [axis for axis in range(v.ndim) if axis != dim]
    norms: torch.Tensor = torch.linalg.vector_norm(v.double(), dim=axes, keepdim=True)
    return v.double() * (g.double() / norms)


def _cast(node: Node, tensor: torch.Tensor) -> torch.Tensor:
    kind = node.arguments.get("dtype", {}).get("as_scalar_type")
    return tensor if kind is None else tensor.to(DTYPES[kind])


def _flatten(node: Node, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flatten(int(node.number("start_dim", 0)), int(node.number("end_dim", -1)))


def _swap(node: Node, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.transpose(int(node.number("dim0", 0)), int(node.number("dim1", 0)))


def _sum(node: Node, tensor: torch.Tensor) -> torch.Tensor:
    axes = node.integers("dim", ()) or tuple(range(tensor.ndim))
    return tensor.double().sum(axes, keepdim=_keeps_axes(node))


def _norm(node: Node, tensor: torch.Tensor) -> torch.Tensor:
    axes = node.integers("dim", ()) or tuple(range(tensor.ndim))
    order = node.number("ord", 2)
    norms: torch.Tensor = torch.linalg.vector_norm(tensor.double(), order, axes, keepdim=_keeps_axes(node))
    return norms


def _keeps_axes(node: Node) -> bool:
    return node.arguments.get("keepdim", {}).get("as_bool") is True


def _same(_node: Node, tensor: torch.Tensor) -> torch.Tensor:
    return tensor


MALFORMED = (RuntimeError, IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError)
Operation = Callable[..., torch.Tensor]
BROADCASTING = frozenset(
    (
        "aten.mul.Tensor",
        "aten.div.Tensor",
        "aten._weight_norm.default",
        "aten._weight_norm_interface.default",
    )
)
OPERANDS: dict[str, tuple[str, ...]] = {
    "aten.mul.Tensor": ("self", "other"),
    "aten.div.Tensor": ("self", "other"),
    "aten.mv.default": ("self", "vec"),
    "aten.dot.default": ("self", "tensor"),
    "aten.vdot.default": ("self", "other"),
    "aten._weight_norm.default": ("v", "g"),
    "aten._weight_norm_interface.default": ("v", "g"),
}
VIEWS: dict[str, Operation] = {
    **{f"aten.{name}.default": _same for name in ("alias", "clone", "detach", "contiguous")},
    "aten.t.default": lambda _, tensor: tensor.t(),
    "aten.numpy_T.default": lambda _, tensor: tensor.permute(*reversed(range(tensor.ndim))),
    "aten.transpose.int": _swap,
    "aten.permute.default": lambda node, tensor: tensor.permute(node.integers("dims", ())),
    "aten.view.default": lambda node, tensor: tensor.reshape(node.integers("size", ())),
    "aten.reshape.default": lambda node, tensor: tensor.reshape(node.integers("shape", ())),
    "aten.flatten.using_ints": _flatten,
    "aten.unsqueeze.default": lambda node, tensor: tensor.unsqueeze(int(node.number("dim", 0))),
}
COPIES = frozenset(("aten.view.default", "aten.reshape.default", "aten.flatten.using_ints"))
"""Those of the views that may have to copy."""
OPERATIONS: dict[str, Operation] = VIEWS | {
    "aten.to.dtype": _cast,
    "aten._to_copy.default": _cast,
    "aten.sum.dim_IntList": _sum,
    "aten.linalg_vector_norm.default": _norm,
    "aten.mul.Tensor": lambda _, left, right: left.double() * right.double(),
    "aten.div.Tensor": lambda _, left, right: left.double() / right.double(),
    "aten.mv.default": lambda _, matrix, vector: matrix.double() @ vector.double(),
    "aten.dot.default": lambda _, left, right: left.double() @ right.double(),
    "aten.vdot.default": lambda _, left, right: left.double() @ right.double(),
    "aten._weight_norm.default": _weight_norm,
    "aten._weight_norm_interface.default": _weight_norm,
}
"""By operator; each takes the node and its operands. Arithmetic is in float64, as in `effective`."""
