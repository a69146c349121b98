"""Calls of ATen's operators, as nodes of a program.

An operator is called only if it is in the list of those that are translated, and then with tensors that have
sizes and a type but no values: so its results have the sizes and types that torch gives them. Numbers that no
input changes, such as products of sizes that a trace has as tensors, are computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from convsv_cli import limits
from convsv_cli.loaders.pt2.archive import DTYPES
from convsv_cli.loaders.pt2.program import Node
from convsv_cli.loaders.pt2.translation.aliases import SHARING
from convsv_cli.loaders.pt2.translation.operators import BUILDS
from convsv_cli.loaders.torchscript.overloads import of_today, overload_for, results, taken
from convsv_cli.loaders.torchscript.tree import UnfollowedError
from convsv_cli.loaders.torchscript.values import Tensor, Value
from convsv_cli.model.graph import Names

EACH = 200 * limits.OBJECT
"""Steps of the model's allowance for one call."""
EXPORTED = {kind: code for code, kind in DTYPES.items()}
"""Numbers of element types in torch's export schema."""
SCALAR = "scalar_tensor"
COMPUTED = frozenset((
    "abs", "add", "alias", "ceil", "clone", "contiguous", "detach", "div", "eq", "floor", "floor_divide",
    "ge", "gt", "le", "lt", "mul", "ne", "neg", "pow", "remainder", "round", "rsub", "sqrt", "sub", "to",
    "true_divide",
))  # fmt: skip
"""Operators that are computed of numbers."""
OTHER_NAMES = {"_convolution": "aten.convolution.default", "cpu": "aten.alias.default"}
"""What operators are called in programs of torch.export that are there in another form."""
LEFT_OUT = frozenset(("device", "dtype", "layout", "memory_format", "non_blocking", "pin_memory"))
"""Arguments that results show, or that change none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Calls:
    """What was called so far.

    Attributes:
        names: of tensors.
        version: of the operators.
        nodes: of the program.
        metas: what is known of tensors, by name.
        fixed: those that nothing may change in place, by what is equal for tensors that share entries.
    """

    names: Names
    version: int
    nodes: list[Node] = field(default_factory=list)
    metas: dict[str, torch.Tensor] = field(default_factory=dict)
    fixed: dict[int, torch.Tensor] = field(default_factory=dict)

    def given(self, name: str, meta: torch.Tensor, number: torch.Tensor | None = None) -> Tensor:
        """A tensor that no call gives."""
        self.metas[name] = meta
        return Tensor(name, meta, number)

    def number(self, value: float | torch.Tensor) -> Tensor:
        """A tensor that is a number."""
        number = value if isinstance(value, torch.Tensor) else torch.tensor(value)
        found = Tensor("", number.to("meta"), number)
        self.fixed[found.shares()] = found.meta
        return found

    def call(self, name: str, arguments: Sequence[Value], named: Mapping[str, Value], label: str) -> Value:
        """What an operator gives.

        Args:
            name: of the operator, without overload.
            arguments: by position.
            named: the others.
            label: what to call its node.

        Raises:
            UnfollowedError: it is not translated, or not for such arguments; it changes what is kept.
            LimitError: that is too many calls.
        """
        limits.spend(EACH, "the calls of TorchScript")
        plain = OTHER_NAMES.get(name, f"aten.{name}.").split(".")[1]
        if plain not in BUILDS and plain.removesuffix("_") not in BUILDS and name != "_convolution_mode":
            raise UnfollowedError(f"forward calls torch.{name}, which convsv does not translate,")
        arguments, named = of_today(self.version, name, arguments, named)
        overload, bound = overload_for(name if name != "cpu" else "alias", arguments, named)
        tensors = [each for value in bound.values() for each in _tensors(value)]
        if tensors and name in COMPUTED and all(each.number is not None for each in tensors):
            with torch.no_grad():
                return self.number(overload(**taken(overload, bound, lambda each: each.number, "cpu")))
        schema = overload._schema  # noqa: SLF001  (the only name of what an operator takes)
        written = [each.name for each in schema.arguments if each.alias_info and each.alias_info.is_write]
        self._check_written(name, [bound[each] for each in written], tensors)
        before = tensors[0].shape if written else ()
        found = results(name, overload, bound)
        bound = {key: self._stored(value) for key, value in bound.items()}
        made = [self._made(each, label) for each in _flat(found)]
        if written and made[0].shape != before:
            raise UnfollowedError(f"forward changes the shape of a tensor by torch.{name}")
        if not written and plain not in SHARING:
            shared = {each.shares() for each in tensors}
            self.fixed.update((each.shares(), each.meta) for each in made if each.shares() in shared)
        self.nodes.append(
            Node(
                position=len(self.nodes),
                target=_target(name, overload, bound),
                name=label,
                arguments={key: _json(value) for key, value in bound.items() if key not in LEFT_OUT},
                outputs=tuple(each.name for each in made),
            )
        )
        return made[0] if isinstance(found, torch.Tensor) else type(found)(made)

    def _check_written(self, name: str, written: list[Value], tensors: list[Tensor]) -> None:
        """See that an operator changes, in place, only what it is given first, and nothing that stays."""
        if not written:
            return
        if len(written) > 1 or written[0] is not tensors[0]:
            raise UnfollowedError(f"forward changes several tensors by torch.{name}")
        if written[0].shares() in self.fixed:
            raise UnfollowedError(f"forward changes a stored tensor by torch.{name}")

    def _stored(self, value: Value) -> Value:
        """The same with numbers that have become tensors of the program."""
        if isinstance(value, list | tuple):
            return [self._stored(each) for each in value]
        if not isinstance(value, Tensor) or value.name:
            return value
        if value.shape or value.number is None:
            raise UnfollowedError("forward makes a list of one of its sizes")
        name = self.names.new(SCALAR)
        self.metas[name] = value.meta
        self.nodes.append(
            Node(
                position=len(self.nodes),
                target=f"aten.{SCALAR}.default",
                name=name,
                arguments={"s": _json(value.number.item())},
                outputs=(name,),
            )
        )
        return Tensor(name, value.meta, value.number)

    def _made(self, meta: torch.Tensor, label: str) -> Tensor:
        if meta.dtype not in EXPORTED:
            raise UnfollowedError(f"forward computes with {meta.dtype}, which is not translated,")
        return self.given(self.names.new(label), meta)


def _tensors(value: Value) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _flat(found: Any) -> list[torch.Tensor]:  # noqa: ANN401  (a tensor, or several)
    return [found] if isinstance(found, torch.Tensor) else list(found)


def _target(name: str, overload: Any, bound: Mapping[str, Value]) -> str:  # noqa: ANN401
    """What programs of torch.export call it."""
    if name == "_convolution_mode":
        return f"aten.conv{len(bound['weight'].shape) - 2}d.padding"
    return OTHER_NAMES.get(name, f"aten.{name}.{overload._overloadname}")  # noqa: SLF001  (its only name)


def _json(value: Value) -> dict[str, Any]:
    """An argument in the form of torch's export schema."""
    if value is None:
        return {"as_none": True}
    if isinstance(value, Tensor):
        return {"as_tensor": {"name": value.name}}
    if isinstance(value, list | tuple):
        return _json_list(value)
    for kind, key in ((bool, "as_bool"), (int, "as_int"), (float, "as_float"), (str, "as_string")):
        if isinstance(value, kind):
            return {key: value}
    return {"as_none": True}


def _json_list(values: Sequence[Value]) -> dict[str, Any]:
    if any(each is None for each in values):
        return {"as_optional_tensors": [_json(each) for each in values]}
    if any(isinstance(each, Tensor) for each in values):
        return {"as_tensors": [{"name": each.name} for each in values]}
    key = "as_floats" if any(isinstance(each, float) for each in values) else "as_ints"
    return {key: list(values)}
