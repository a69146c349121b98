"""Statements and expressions of TorchScript, as its archives have them."""

from __future__ import annotations

from dataclasses import dataclass


class UnfollowedError(Exception):
    """Why the code is not followed, in words."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a text, True, False or None."""

    value: float | str | bool | None


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or the beginning of a path."""

    text: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """`of.name`, or `getattr(of, "name")`."""

    of: Expression
    name: str


@dataclass(frozen=True, slots=True)
class Item:
    """`of[index]`."""

    of: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments, name=named)`."""

    function: Expression
    arguments: tuple[Expression, ...]
    named: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True)
class Several:
    """A list, or a tuple."""

    items: tuple[Expression, ...]
    is_list: bool


@dataclass(frozen=True, slots=True)
class Pairs:
    """A dictionary."""

    pairs: tuple[tuple[Expression, Expression], ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """`first if condition else second`."""

    condition: Expression
    first: Expression
    second: Expression


Expression = Literal | Name | Attribute | Item | Call | Several | Pairs | Choice


@dataclass(frozen=True, slots=True)
class Assign:
    """`targets = value`; without targets, the value alone. Where it `unpacks`, the value has parts."""

    line: int
    targets: tuple[Expression, ...]
    value: Expression
    unpacks: bool


@dataclass(frozen=True, slots=True)
class If:
    """`if condition: first else: second`."""

    line: int
    condition: Expression
    first: Block
    second: Block


@dataclass(frozen=True, slots=True)
class While:
    """`while condition: body`."""

    line: int
    condition: Expression
    body: Block


@dataclass(frozen=True, slots=True)
class For:
    """`for name in values: body`."""

    line: int
    name: str
    values: Expression
    body: Block


@dataclass(frozen=True, slots=True)
class With:
    """`with value: body`."""

    line: int
    value: Expression
    body: Block


@dataclass(frozen=True, slots=True)
class Return:
    """`return value`."""

    line: int
    value: Expression


Statement = Assign | If | While | For | With | Return
Block = tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Of a function: its name, its type as the code says it, and what it is where nothing is given."""

    name: str
    kind: Expression
    default: Expression | None


@dataclass(frozen=True, slots=True)
class Function:
    """A function, or a method.

    Attributes:
        place: the file that it is in.
        parameters: in their order, a method's own object first.
        body: what it does.
    """

    place: str
    parameters: tuple[Parameter, ...]
    body: Block
