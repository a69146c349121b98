"""What expressions of TorchScript are, as far as no input's values change them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatchmethod

import torch

from convsv_cli import limits
from convsv_cli.loaders.checkpoint.values import Global, Record
from convsv_cli.loaders.pt2.translation.operators import BUILDS
from convsv_cli.loaders.torchscript import tree
from convsv_cli.loaders.torchscript.builtins import (
    BUILTINS,
    CODES,
    KINDS,
    SETTINGS,
    TEXT,
    as_key,
    item,
    number,
    truth,
)
from convsv_cli.loaders.torchscript.calls import Calls
from convsv_cli.loaders.torchscript.overloads import RefusedError
from convsv_cli.loaders.torchscript.sources import Sources
from convsv_cli.loaders.torchscript.tree import UnfollowedError
from convsv_cli.loaders.torchscript.values import Made, Path, Tensor, Value, counted

EACH = 10 * limits.OBJECT
"""Steps of the model's allowance for each statement and each expression."""
CODE = "__torch__."
ASKS = "the code asks whether gradients are recorded, and is followed as where they are, without autocast"
NUMBERS: Mapping[str, Callable[[float], float]] = {
    "int": int, "float": float, "number": lambda value: value,
}  # fmt: skip
"""What tensors of one number become where the code says such a type."""
TYPES: Mapping[str, type] = {
    "Tensor": Tensor, "int": int, "float": float, "bool": bool, "str": str, "NoneType": type(None),
}  # fmt: skip


@dataclass(kw_only=True)
class Frame:
    """A function while it is followed.

    Attributes:
        place: the file that it is in.
        module: the name of the module that it is of, as far as that is known.
        variables: by name.
    """

    place: str
    module: str
    variables: dict[str, Value] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class Evaluation(ABC):
    """What is followed.

    Attributes:
        sources: its code.
        calls: of operators so far.
        attribute: gives that of a module, by its name.
        constant: gives one of the archive's, by its name.
        literal: gives one of numbers that the code says.
        modules: names of modules, by what Python calls their identity.
        assumed: what was taken for granted.
    """

    sources: Sources
    calls: Calls
    attribute: Callable[[Record, str], Value]
    constant: Callable[[str], Value]
    literal: Callable[[torch.Tensor], Tensor]
    modules: Mapping[int, str]
    assumed: set[str] = field(default_factory=set)

    @abstractmethod
    def function(
        self, found: tree.Function, arguments: Sequence[Value], named: Mapping[str, Value], module: str
    ) -> Value:
        """What a function gives, which belongs to a module of that name.

        Raises:
            UnfollowedError: it does something that depends on values of inputs, or is not known.
            LimitError: it does too much.
        """

    def method(
        self, owner: Record | Made, name: str, arguments: Sequence[Value], named: Mapping[str, Value]
    ) -> Value:
        """What a method gives; its errors are those of `function`."""
        if isinstance(owner, Made):
            module, _, own = owner.path.rpartition(".")
            found = self.sources.method(Global(module, own), name)
        else:
            found = self.sources.method(owner.maker, name)
        return self.function(found, (owner, *arguments), named, self.modules.get(id(owner), ""))

    def value(self, expression: tree.Expression, frame: Frame) -> Value:
        """What an expression is; its errors are those of `function`."""
        limits.spend(EACH, "the code of TorchScript")
        return self._evaluated(expression, frame)

    @singledispatchmethod
    def _evaluated(self, expression: tree.Expression, frame: Frame) -> Value:  # noqa: ARG002  (of the rules below)
        raise UnfollowedError("forward has an expression that is not followed")

    @_evaluated.register
    def _(self, expression: tree.Literal, frame: Frame) -> Value:  # noqa: ARG002  (as for the others)
        return counted(expression.value)

    @_evaluated.register
    def _(self, expression: tree.Name, frame: Frame) -> Value:
        return frame.variables.get(expression.text, Path(expression.text))

    @_evaluated.register
    def _(self, expression: tree.Attribute, frame: Frame) -> Value:
        owner = self.value(expression.of, frame)
        if isinstance(owner, Record):
            self.sources.check_state(owner.maker)
            return self.attribute(owner, expression.name)
        if isinstance(owner, Made):
            return owner.attributes[expression.name]
        if not isinstance(owner, Path):
            raise UnfollowedError(f"forward asks for {expression.name!r} of what has no attributes")
        if owner.text == "CONSTANTS":
            return self.constant(expression.name)
        return Path(f"{owner.text}.{expression.name}")

    @_evaluated.register
    def _(self, expression: tree.Item, frame: Frame) -> Value:
        return item(self.value(expression.of, frame), self.value(expression.index, frame))

    @_evaluated.register
    def _(self, expression: tree.Several, frame: Frame) -> Value:
        items = [self.value(each, frame) for each in expression.items]
        return items if expression.is_list else tuple(items)

    @_evaluated.register
    def _(self, expression: tree.Pairs, frame: Frame) -> Value:
        return {as_key(self.value(key, frame)): self.value(value, frame) for key, value in expression.pairs}

    @_evaluated.register
    def _(self, expression: tree.Choice, frame: Frame) -> Value:
        holds = truth(self.value(expression.condition, frame))
        return self.value(expression.first if holds else expression.second, frame)

    @_evaluated.register
    def _(self, expression: tree.Call, frame: Frame) -> Value:
        function = expression.function
        if isinstance(function, tree.Name) and function.text not in frame.variables:
            typed = self._typed(function.text, expression.arguments, frame)
            if typed is not None:
                return typed[0]
        name = f".{function.name}" if isinstance(function, tree.Attribute) else ""
        owner = self.value(function.of if isinstance(function, tree.Attribute) else function, frame)
        arguments = [self.value(each, frame) for each in expression.arguments]
        named = {key: self.value(each, frame) for key, each in expression.named}
        if isinstance(owner, Record | Made) and name:
            return self.method(owner, name[1:], arguments, named)
        if not isinstance(owner, Path):
            raise UnfollowedError("forward calls what is no function")
        return self._called(f"{owner.text}{name}", arguments, named, frame)

    def _typed(self, name: str, arguments: Sequence[tree.Expression], frame: Frame) -> tuple[Value] | None:
        """What is said of a type; None for other calls."""
        if name == "uninitialized":
            return (Path(name),)
        if name in {"annotate", "unchecked_cast"}:
            kind, value = arguments
            found = self.value(value, frame)
            as_number = NUMBERS.get(kind.text) if isinstance(kind, tree.Name) else None
            return (as_number(number(found)) if as_number and isinstance(found, Tensor) else found,)
        if name == "isinstance":
            value, kind = arguments
            if not isinstance(kind, tree.Name) or kind.text not in TYPES:
                raise UnfollowedError("forward asks for a type that convsv does not know")
            found = self.value(value, frame)
            return ((str if found == TEXT else type(found)) is TYPES[kind.text],)
        return None

    def _called(self, path: str, arguments: list[Value], named: Mapping[str, Value], frame: Frame) -> Value:
        if path in SETTINGS:
            self.assumed.add(ASKS)
        if path.startswith(CODE):
            return self._own(path, arguments, named, frame)
        if path == "ops.prim.RaiseException":
            raise RefusedError("forward raises an error for an input of this size")
        if path == "ops.prim.NumToTensor":
            value = number(arguments[0])
            return self._written(value, CODES[torch.float64] if isinstance(value, float) else None)
        if path == "torch.tensor":
            return self._written(arguments[0], named.get("dtype"))
        if path == "ops.prim.unchecked_unwrap_optional":
            return arguments[0]
        library, _, name = path.rpartition(".")
        if path == "ops.prim.data":
            library, name = "torch", "detach"
        on_tensors = not BUILDS.keys().isdisjoint((name, name.removesuffix("_"))) and any(
            isinstance(each, Tensor) for each in arguments
        )
        if path in BUILTINS and not on_tensors:
            return BUILTINS[path](*arguments, **named)
        if library != "torch":
            raise UnfollowedError(f"forward calls {path}, which convsv does not know,")
        label = f"{frame.module}{name}"
        return self.calls.call(name, arguments, named, label)

    def _written(self, value: Value, kind: int | None) -> Tensor:
        """A tensor of numbers that the code says."""
        dtype = None if kind is None else KINDS[kind]
        given = [number(each) for each in counted(value)] if isinstance(value, list) else number(value)
        limits.hold(
            limits.OBJECT * (len(given) if isinstance(given, list) else 1), "the lists of TorchScript"
        )
        try:
            found = torch.tensor(given, dtype=dtype)
        except RuntimeError as error:
            raise UnfollowedError("forward writes a number that its type does not have") from error
        return self.literal(found) if isinstance(given, list) else self.calls.number(found)

    def _own(self, path: str, arguments: list[Value], named: Mapping[str, Value], frame: Frame) -> Value:
        """What the code calls of its own functions, or makes of its own classes."""
        if path.endswith(".__new__"):
            return Made(path.removesuffix(".__new__"))
        return self.function(self.sources.function(path), arguments, named, frame.module)
