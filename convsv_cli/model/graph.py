"""The computation of a network, as far as a file has it; ONNX operator types are the only vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Reader = Callable[[], "NDArray[np.generic]"]
Dims = tuple[int | None, ...]
T = TypeVar("T")
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
class Node:
    """One operation.

    Attributes:
        op: ONNX operator type, with its domain before it where that is not ONNX's own ("com.example.Gate").
        name: what users know it by; unique in the graph.
        inputs, outputs: names of tensors; empty where an optional one is left out.
        attributes: by name; numbers, strings and tuples of these.
        bodies: graphs inside it (If, Loop), by attribute name; their tensors have names of their own.
        layers: rows of the audit that its weights are, in the order of its inputs.
        rounding: bounds the Frobenius norm of what rounding has done to its constant weight, where that was
            computed from others and has no row.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)
    bodies: tuple[tuple[str, Body], ...] = ()
    layers: tuple[str, ...] = ()
    rounding: Callable[[], float] = exact

    def attribute(self, name: str, default: T) -> T:
        """The attribute's value.

        Args:
            name: as ONNX calls it.
            default: what it is where it is absent.
        """
        return self.attributes.get(name, default)  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """Nodes in topological order, and what they are asked for."""

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A whole computation, at one input size; what its nodes mean, the newest operator set says.

    Attributes:
        main: its nodes and outputs.
        inputs: names of the tensors that users feed.
        constants: gives the values of each tensor that does not depend on an input, by name; raises
            `UnknownValueError` where it cannot.
        shapes: dimensions by tensor name, None where one is unknown; no entry where nothing is known.
        dtypes: element types by tensor name, as ONNX calls them in lower case, e.g. "float", "int64".
        assumed: what was taken for granted of the inputs, in plain words.
    """

    main: Body
    inputs: tuple[str, ...]
    constants: Mapping[str, Reader]
    shapes: Mapping[str, Dims]
    dtypes: Mapping[str, str]
    assumed: tuple[str, ...] = ()
