"""The graph of a program: its nodes, what the names in it stand for, and the sizes of export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from convsv_cli.loaders.pt2.inlining import inlined
from convsv_cli.loaders.pt2.sizes import LARGEST, NoSizeError, Sizes, symbol_of
from convsv_cli.model.network import InputSize

STORED = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
LARGEST_INTEGER = 2**63
"""Slices end there that end at the end."""
NOT_FINITE = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}
"""As torch writes them, for JSON has none."""
RANDOM = ("rand", "bernoulli", "dropout", "multinomial", "normal")


class NoNumberError(Exception):
    """An argument is not the number that it has to be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One call of an operator, at its place in the program; `arguments` by the operator's names for them."""

    position: int
    target: str
    name: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]

    def tensor(self, name: str) -> str:
        """The name of a tensor argument; empty where it is none."""
        given = _tensor(self.arguments.get(name, {}))
        return _name(given) if given else ""

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """The names of all tensors among the arguments."""
        return tuple(name for argument in self.arguments.values() for name in _names(argument))

    @cached_property
    def settings(self) -> str:
        """All arguments but single tensors, as a text that is equal for equal ones."""
        return repr(sorted((key, value) for key, value in self.arguments.items() if "as_tensor" not in value))

    def number(self, name: str, default: float) -> float:
        """A number; the default where it is absent."""
        argument = self.arguments.get(name)
        if argument is None:
            return default
        number = argument.get("as_int", argument.get("as_float"))
        if type(number) not in (int, float):
            raise NoNumberError(f"a {name} that is not a number")
        if not abs(number) <= LARGEST:
            raise NoNumberError(f"a {name} beyond {LARGEST:.0e}, or none")
        return float(number) if isinstance(number, float) else number

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list of integers; the default where it is absent."""
        argument = self.arguments.get(name)
        if argument is None or argument.get("as_none"):
            return default
        numbers = argument.get("as_ints") or [size.get("as_int") for size in argument.get("as_sym_ints", ())]
        if any(type(number) is not int for number in numbers):
            raise NoNumberError(f"a {name} that depends on the input")
        if any(abs(number) > LARGEST for number in numbers):
            raise NoNumberError(f"a {name} beyond {LARGEST:.0e}")
        return tuple(numbers)


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A graph.

    Attributes:
        nodes: in the order in which they are called.
        stored: names of parameters, buffers and constants in the file, by the graph's names for them.
        inputs: names of what users feed.
        open: which axes of these may have another size, by name.
        outputs: names of what it gives, as far as these are tensors.
        shapes: sizes by name, at one input size.
        dtypes: numbers of element types in torch's export schema, by name.
        scalars: what numbers are that are computed from sizes, by name.
        symbolic: names of tensors whose sizes, but for the batch, depend on those of an input as exported.
        makers: the node that computes a constant, by the constant's name.
        batch: names of inputs whose first axis is open, and taken for one sample.
    """

    nodes: tuple[Node, ...]
    stored: Mapping[str, str]
    inputs: tuple[str, ...]
    open: Mapping[str, tuple[bool, ...]]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, int]
    scalars: Mapping[str, int]
    symbolic: frozenset[str]
    makers: Mapping[str, Node]
    batch: tuple[str, ...]

    def number(self, argument: Any) -> float:  # noqa: ANN401
        """What a number among a node's arguments is.

        Raises:
            NoNumberError: it is none, or not known.
        """
        symbolic = argument.get("as_sym_int") or argument.get("as_sym_float") or argument
        if "as_name" in symbolic:
            if symbolic["as_name"] not in self.scalars:
                raise NoNumberError("a number that is not known before it runs")
            return self.scalars[symbolic["as_name"]]
        found = next((symbolic[key] for key in ("as_int", "as_float", "as_bool") if key in symbolic), None)
        found = NOT_FINITE.get(found, found) if isinstance(found, str) else found
        if not isinstance(found, int | float) or (isinstance(found, int) and abs(found) > LARGEST_INTEGER):
            raise NoNumberError("an argument that is not a number")
        return found

    def numbers(self, argument: Any) -> tuple[float, ...]:  # noqa: ANN401
        """What a list of numbers among a node's arguments is, or one number.

        Raises:
            NoNumberError: one is none, or not known.
        """
        for key in ("as_ints", "as_floats"):
            if key in argument:
                return tuple(self.number({"as_int": each}) for each in argument[key])
        if "as_sym_ints" in argument:
            return tuple(self.number({"as_sym_int": each}) for each in argument["as_sym_ints"])
        return (self.number(argument),)

    def is_constant(self, name: str) -> bool:
        """Whether it does not depend on what users feed."""
        return name in self.stored or name in self.makers


def program(model: Any, asked: InputSize) -> Program:  # noqa: ANN401
    """The program in a parsed `models/*.json`, at an input size, or else that of export.

    Raises:
        KeyError, TypeError, AttributeError: it is not of torch's export schema.
    """
    module = model["graph_module"]
    graph = inlined(module["graph"])
    stored, inputs = _inputs(module["signature"]["input_specs"])
    nodes = tuple(_node(position, node) for position, node in enumerate(graph["nodes"]))
    values = graph["tensor_values"]
    sizes, batch = _sizes(values, inputs, asked)
    told = bool(asked.size or asked.shapes)
    return Program(
        nodes=nodes,
        stored=stored,
        inputs=inputs,
        open={name: tuple("as_expr" in size for size in _sizes_of(values, name)) for name in inputs},
        outputs=tuple(name for output in graph.get("outputs") or () for name in _names(output)),
        shapes={name: shape for name, value in values.items() if (shape := _shape(value, sizes)) is not None},
        dtypes={name: value["dtype"] for name, value in values.items() if type(value["dtype"]) is int},
        scalars=dict(_scalars(graph.get("sym_int_values") or {}, sizes)),
        symbolic=frozenset(
            name for name, value in values.items() if any("as_expr" in size for size in value["sizes"][1:])
        )
        if not told
        else frozenset(),
        makers=makers_of(nodes, stored),
        batch=batch,
    )


def _sizes(values: Any, inputs: tuple[str, ...], asked: InputSize) -> tuple[Sizes, tuple[str, ...]]:  # noqa: ANN401
    """What symbols are: as asked for; else 1 where they are a batch, and as exported where they are not."""
    symbols: dict[str, int] = {}
    batch: list[str] = []
    told = dict(asked.shapes)
    for name in sorted(inputs, key=lambda name: name not in told):
        for axis, (size, given) in enumerate(_declared(_sizes_of(values, name), told.get(name), asked)):
            known = symbol_of(size)
            if not known or known in symbols:
                continue
            symbols[known] = (1 if axis == 0 else _hint(size)) if given is None else given
            if axis == 0 and given is None:
                batch.append(name)
    return Sizes(symbols=symbols), tuple(batch)


def _sizes_of(values: Any, name: str) -> Any:  # noqa: ANN401
    return values[name]["sizes"] if name in values else ()


def _declared(sizes: Any, told: tuple[int, ...] | None, asked: InputSize) -> Iterator[tuple[Any, int | None]]:  # noqa: ANN401
    """The sizes of an input, each with what it is asked to be."""
    spatial = asked.for_axes(len(sizes) - 2) if len(sizes) > 2 else None
    for axis, size in enumerate(sizes):
        if told is not None:
            yield size, told[axis] if axis < len(told) else None
        else:
            yield size, spatial[axis - 2] if spatial is not None and axis > 1 else None


def _hint(size: Any) -> int:  # noqa: ANN401
    """The size of export."""
    found = size["as_expr"]["hint"]["as_int"]
    if type(found) is not int:
        raise TypeError("a size that is not a number")
    return found


def _scalars(values: Any, sizes: Sizes) -> Iterator[tuple[str, int]]:  # noqa: ANN401
    for name, value in values.items():
        with suppress(NoSizeError, KeyError, TypeError):
            yield name, sizes.whole(value)


def _inputs(specifications: Any) -> tuple[dict[str, str], tuple[str, ...]]:  # noqa: ANN401
    stored: dict[str, str] = {}
    fed: list[str] = []
    for specification in specifications:
        ((kind, content),) = specification.items()
        if kind in STORED:
            stored[content["arg"]["name"]] = content[STORED[kind]]
        elif kind == "user_input" and "as_tensor" in content["arg"]:
            fed.append(content["arg"]["as_tensor"]["name"])
    return stored, tuple(fed)


def _node(position: int, node: Any) -> Node:  # noqa: ANN401
    outputs = tuple(name for output in node["outputs"] for name in _names(output))
    return Node(
        position=position,
        target=str(node["target"]).removeprefix("torch.ops."),
        name=str(node.get("name") or next(iter(outputs), "")),
        arguments={argument["name"]: argument["arg"] for argument in node["inputs"]},
        outputs=outputs,
    )


def _names(argument: Any) -> Iterator[str]:  # noqa: ANN401
    """Names of tensors in an argument of any kind."""
    several = argument.get("as_tensors") or ()
    optional = (item.get("as_tensor") for item in argument.get("as_optional_tensors") or ())
    yield from (_name(item) for item in (_tensor(argument), *several, *optional) if item)


def _name(tensor: Any) -> str:  # noqa: ANN401
    """The name of a tensor; anything else could be long to write out, and would be again for each use."""
    name = tensor["name"]
    if type(name) is not str:
        raise TypeError("a name that is no text")
    return name


def _tensor(argument: Any) -> Any:  # noqa: ANN401
    """The one tensor that an argument is; nothing where it is anything else."""
    return argument.get("as_tensor") or (argument.get("as_optional_tensor") or {}).get("as_tensor")


def _shape(value: Any, sizes: Sizes) -> tuple[int, ...] | None:  # noqa: ANN401
    """The sizes of a tensor; None where one is not known, or none that a tensor has."""
    try:
        found = tuple(sizes.whole(size) for size in value["sizes"])
    except (NoSizeError, KeyError, TypeError):
        return None
    return found if min(found, default=0) >= 0 else None


def makers_of(nodes: tuple[Node, ...], stored: Mapping[str, str]) -> dict[str, Node]:
    """The node that computes a constant, by the constant's name.

    Args:
        nodes: in the order in which they are called.
        stored: names of constants in the file, by those in the program.
    """
    makers: dict[str, Node] = {}
    for node in nodes:
        by_chance = any(word in node.target for word in RANDOM)
        if node.tensors and not by_chance and all(name in stored or name in makers for name in node.tensors):
            makers |= dict.fromkeys(node.outputs, node)
    return makers
