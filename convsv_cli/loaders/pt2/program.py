"""The graph of a program: its nodes, what the names in it stand for, and the sizes of export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from convsv_cli.loaders.pt2.archive import whole

STORED = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
LARGEST = 2**53
"""Of a number among a node's arguments: larger ones are no sizes, and floats do not hold them."""
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
        shapes: sizes by name, at the size of export.
        symbolic: names of tensors whose sizes, but for the batch, depend on the input's.
        makers: the node that computes a constant, by the constant's name.
    """

    nodes: tuple[Node, ...]
    stored: Mapping[str, str]
    inputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    symbolic: frozenset[str]
    makers: Mapping[str, Node]

    def is_constant(self, name: str) -> bool:
        """Whether it does not depend on what users feed."""
        return name in self.stored or name in self.makers


def program(model: Any) -> Program:  # noqa: ANN401
    """The program in a parsed `models/*.json`.

    Raises:
        KeyError, TypeError, AttributeError: it is not of torch's export schema.
    """
    module = model["graph_module"]
    graph = module["graph"]
    stored, inputs = _inputs(module["signature"]["input_specs"])
    nodes = tuple(_node(position, node) for position, node in enumerate(graph["nodes"]))
    values = graph["tensor_values"]
    return Program(
        nodes=nodes,
        stored=stored,
        inputs=inputs,
        shapes={name: shape for name, value in values.items() if (shape := _shape(value)) is not None},
        symbolic=frozenset(
            name for name, value in values.items() if any("as_expr" in size for size in value["sizes"][1:])
        ),
        makers=_makers(nodes, stored),
    )


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


def _shape(value: Any) -> tuple[int, ...] | None:  # noqa: ANN401
    """The sizes of a tensor; None where one has no size of export, or none that a tensor has."""
    try:
        sizes = tuple(whole(size) for size in value["sizes"])
    except (KeyError, TypeError):
        return None
    return sizes if max(sizes, default=0) <= LARGEST else None


def _makers(nodes: tuple[Node, ...], stored: Mapping[str, str]) -> dict[str, Node]:
    makers: dict[str, Node] = {}
    for node in nodes:
        by_chance = any(word in node.target for word in RANDOM)
        if node.tensors and not by_chance and all(name in stored or name in makers for name in node.tensors):
            makers |= dict.fromkeys(node.outputs, node)
    return makers
