"""The computation of a network, as far as a file has it; ONNX operator types are the only vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from convsv_cli.model.home import Home, homeless

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convsv_cli.numerics.intervals import Range

    Array = NDArray[np.generic]

Reader = Callable[[], "Array"]
Dims = tuple[int | None, ...]
T = TypeVar("T")
FOREIGN = "aten."
"""Before the type of a node of a PyTorch program that has no translation; likewise, where more is known."""
UNREADABLE = "convsv.unreadable."
"""Before the type of a node whose operator set does not define it; its attribute "reason" says why."""


class Names:
    """Names that nothing has twice."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._numbers: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def new(self, base: str) -> str:
        """The base, with a number behind it where that is taken."""
        name = base
        while name in self._taken:
            number = self._numbers[base] = self._numbers.get(base, 1) + 1
            name = f"{base}#{number}"
        self._taken.add(name)
        return name


class UnknownValueError(Exception):
    """A tensor is constant, but too large to compute or beyond what convsv computes; the reason, in words."""


def exact() -> float:
    """No rounding at all."""
    return 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """A tensor that does not depend on the network's input.

    Attributes:
        name: of the tensor in the file that its values come from.
        shape, dtype: of the values, the type as numpy calls it, e.g. "float32".
        identity: equal for equal expressions of one graph.
        assumed: what was taken for granted of the values.
        rounds: whether the network computes the values by operators that round, each runtime in its own way.
        read: computes the values, an array of `shape`; nothing is kept.
        home: how they are stored; raises `NoHomeError` where others cannot be.
        error: bounds the Frobenius norm of what rounding did to values that were computed when a graph was
            rewritten; infinite or NaN where that is beyond 1e308.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    identity: Hashable
    assumed: tuple[str, ...] = ()
    rounds: bool = False
    read: Reader = field(repr=False)
    home: Callable[[], Home] = field(default=homeless, repr=False)
    error: Callable[[], float] = field(default=exact, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operation.

    Attributes:
        op: ONNX operator type, with its domain before it where that is not ONNX's own ("com.example.Gate").
        name: what users know it by; unique in the graph.
        label: its name in the file; empty where it has none.
        inputs, outputs: names of tensors; empty where an optional one is left out.
        attributes: by name; numbers, strings and tuples of these.
        bodies: graphs inside it (If, Loop), by attribute name; their tensors have names of their own.
    """

    op: str
    name: str
    label: str = ""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)
    bodies: tuple[tuple[str, Body], ...] = ()

    @property
    def type(self) -> str:
        """The operator type without a domain."""
        return self.op.rpartition(".")[2]

    def input(self, index: int) -> str:
        """The name of the tensor at an input; empty where that is left out.

        Args:
            index: from 0, in the order of the operator's definition.
        """
        return self.inputs[index] if index < len(self.inputs) else ""

    def attribute(self, name: str, default: T) -> T:
        """The attribute's value.

        Args:
            name: as ONNX calls it.
            default: what it is where it is absent.
        """
        return self.attributes.get(name, default)  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """Nodes in topological order, and what they are asked for.

    Attributes:
        nodes: in topological order.
        outputs: names of tensors.
        path: from the main graph, e.g. "If_0.then_branch", with which the names of its tensors begin; empty
            for the main graph.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    path: str = ""

    def all_bodies(self) -> Iterator[Body]:
        """Itself, then the bodies of its nodes, each before its own inner ones."""
        yield self
        for node in self.nodes:
            for _, body in node.bodies:
                yield from body.all_bodies()


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A whole computation, at one input size; what its nodes mean, the newest operator set says.

    Attributes:
        main: its nodes and outputs.
        inputs: names of the tensors that users feed.
        held: those of the inputs that are held fixed, whatever their type.
        ranges: what the entries of tensors are known to be in, by name, beside what is said of all inputs.
        constants: finds each tensor that does not depend on an input, by name; raises `UnknownValueError`
            where it is too large to compute, or beyond what convsv computes.
        shapes: dimensions by tensor name, None where one is unknown; no entry where nothing is known.
        dtypes: element types by tensor name, as ONNX calls them in lower case, e.g. "float", "int64".
        assumed: what was taken for granted of the inputs, in plain words.
    """

    main: Body
    inputs: tuple[str, ...]
    constants: Mapping[str, Callable[[], Constant]]
    shapes: Mapping[str, Dims]
    dtypes: Mapping[str, str]
    assumed: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def constant(self, name: str) -> Constant | None:
        """The constant of this name; None where the tensor depends on an input, or is left out.

        Args:
            name: of a tensor.

        Raises:
            UnknownValueError: see `constants`.
        """
        find = self.constants.get(name)
        return None if find is None else find()

    def reader(self, name: str) -> Reader | None:
        """Gives the values of a constant, and raises `UnknownValueError`; None for what is none.

        Args:
            name: of a tensor.
        """
        find = self.constants.get(name)
        if find is None:
            return None
        return lambda: find().read()

    @cached_property
    def makers(self) -> Mapping[str, Node]:
        """The node that computes a tensor, by the tensor's name."""
        return {name: node for node in self._nodes() for name in node.outputs if name}

    @cached_property
    def users(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that use a tensor, by the tensor's name; each as often as it does."""
        found: dict[str, list[Node]] = {}
        for node in self._nodes():
            for name in node.inputs:
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def _nodes(self) -> Iterator[Node]:
        return (node for body in self.main.all_bodies() for node in body.nodes)
