"""The code of TorchScript, followed: each statement in turn, where all that decides on the next one is known.

Numbers, lists and conditions are computed as far as no input's values change them; operators on tensors are
noted. So what is noted is what the code does for every input of these sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatchmethod

from convsv_cli import limits
from convsv_cli.loaders.torchscript import tree
from convsv_cli.loaders.torchscript.builtins import number, truth
from convsv_cli.loaders.torchscript.evaluating import CODE, EACH, Evaluation, Frame
from convsv_cli.loaders.torchscript.tree import UnfollowedError
from convsv_cli.loaders.torchscript.values import Made, Value, counted

DEEPEST = 40
"""Of calls in calls."""
MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What values raise that are not those of the code's types."""
UNRECORDED = tuple(f"{CODE}torch.autograd.grad_mode.{name}" for name in ("no_grad", "inference_mode"))


class PlacedError(UnfollowedError):
    """The same, with the place that it is about."""


@dataclass(kw_only=True, eq=False)
class Following(Evaluation):
    """What is followed, statement by statement."""

    _depth: int = 0

    def function(
        self, found: tree.Function, arguments: Sequence[Value], named: Mapping[str, Value], module: str
    ) -> Value:
        """See `Evaluation`."""
        if self._depth >= DEEPEST:
            raise UnfollowedError("forward calls functions inside functions without end")
        frame = Frame(place=found.place, module=module)
        given = dict(zip((each.name for each in found.parameters), arguments, strict=False)) | dict(named)
        if len(given) != len(arguments) + len(named) or len(given) > len(found.parameters):
            raise UnfollowedError("forward calls a function with other arguments than it has")
        for each in found.parameters:
            if each.name not in given and each.default is None:
                raise UnfollowedError(f"forward calls a function without its {each.name}")
            default = each.default
            frame.variables[each.name] = (
                given[each.name] if default is None or each.name in given else self.value(default, frame)
            )
        self._depth += 1
        try:
            returned = self._block(found.body, frame)
        finally:
            self._depth -= 1
        return returned[0] if returned else None

    def _block(self, block: tree.Block, frame: Frame) -> tuple[Value] | None:
        """What is returned; None where nothing is."""
        for statement in block:
            limits.spend(EACH, "the code of TorchScript")
            try:
                returned = self._statement(statement, frame)
            except PlacedError:
                raise
            except UnfollowedError as error:
                raise PlacedError(f"{error} at line {statement.line} of {frame.place}") from error
            except MALFORMED as error:
                kind = type(error).__name__
                raise PlacedError(
                    f"line {statement.line} of {frame.place} is not followed ({kind})"
                ) from error
            if returned:
                return returned
        return None

    @singledispatchmethod
    def _statement(self, statement: tree.Statement, frame: Frame) -> tuple[Value] | None:  # noqa: ARG002
        raise UnfollowedError("forward has a statement that is not followed")

    @_statement.register
    def _(self, statement: tree.Return, frame: Frame) -> tuple[Value] | None:
        return (self.value(statement.value, frame),)

    @_statement.register
    def _(self, statement: tree.Assign, frame: Frame) -> tuple[Value] | None:
        value = self.value(statement.value, frame)
        targets = statement.targets
        values = (value,)
        if statement.unpacks:
            if not isinstance(value, list | tuple) or len(value) != len(targets):
                raise UnfollowedError("forward takes apart what has another number of parts")
            values = tuple(value)
        for target, each in zip(targets, values, strict=bool(targets)):
            self._assign(target, each, frame)
        return None

    def _assign(self, target: tree.Expression, value: Value, frame: Frame) -> None:
        if isinstance(target, tree.Name):
            frame.variables[target.text] = value
            return
        if not isinstance(target, tree.Attribute):
            raise UnfollowedError("forward assigns to what is no variable")
        owner = self.value(target.of, frame)
        if not isinstance(owner, Made):
            raise UnfollowedError(f"forward keeps a state: it changes the attribute {target.name!r}")
        owner.attributes[target.name] = value

    @_statement.register
    def _(self, statement: tree.If, frame: Frame) -> tuple[Value] | None:
        holds = truth(self.value(statement.condition, frame))
        return self._block(statement.first if holds else statement.second, frame)

    @_statement.register
    def _(self, statement: tree.While, frame: Frame) -> tuple[Value] | None:
        while truth(self.value(statement.condition, frame)):
            limits.spend(EACH, "the code of TorchScript")
            returned = self._block(statement.body, frame)
            if returned:
                return returned
        return None

    @_statement.register
    def _(self, statement: tree.For, frame: Frame) -> tuple[Value] | None:
        for each in self._each(statement.values, frame):
            limits.spend(EACH, "the code of TorchScript")
            frame.variables[statement.name] = each
            returned = self._block(statement.body, frame)
            if returned:
                return returned
        return None

    def _each(self, values: tree.Expression, frame: Frame) -> Iterator[Value]:
        if isinstance(values, tree.Call) and values.function == tree.Name("range"):
            return iter(range(*(int(number(self.value(each, frame))) for each in values.arguments)))
        found = self.value(values, frame)
        if not isinstance(found, list | tuple):
            raise UnfollowedError("forward goes through what is no list")
        return iter(counted(tuple(found)))

    @_statement.register
    def _(self, statement: tree.With, frame: Frame) -> tuple[Value] | None:
        entered = self.value(statement.value, frame)
        if not isinstance(entered, Made) or not entered.path.startswith(UNRECORDED):
            raise UnfollowedError("forward enters a context that convsv does not know")
        return self._block(statement.body, frame)
