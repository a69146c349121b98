"""A node as the rules see it: how its inputs vary with the network's input, and what is constant."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from convsv_cli.model.graph import Dims, Node, Reader, UnknownValueError
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import up

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convsv_cli.model.linear_map import LinearMap, Unsupported

T = TypeVar("T")
Lengths = Mapping[int, float]
"""How long the vectors along an axis of a tensor are at most (L2); axes are counted from the last one, -1."""
MALFORMED = (ArithmeticError, LookupError, TypeError, ValueError)
"""What rules raise at attributes and shapes that are none."""
MAX_ELEMENTS = 2**26  # of a constant whose range is looked for
SIZES, RANGE = "sizes", "range"
UNBOUNDED_PRODUCT = "a product of two activations, of which {names} may be arbitrarily large"


class UnboundedError(Exception):
    """The node has no finite Lipschitz constant that convsv knows.

    Args:
        reason: why, in words.
        lacks: what a user might tell to change that, `SIZES` or `RANGE` of the inputs; empty for nothing.
    """

    def __init__(self, reason: str, *, lacks: str = "") -> None:
        super().__init__(reason)
        self.lacks = lacks


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """What is known of a tensor.

    Attributes:
        name: of the tensor.
        bound: upper bound of its Lipschitz constant from the input of the segment; 0 where it is constant,
            infinite where there is none.
        discrete: it varies with the network's input, and is not real-valued (an index, a comparison).
        static_shape: its shape does not vary with the network's input, as long as that keeps its own.
        known: holds all entries of one that varies.
        lengths: of its vectors, as far as they are known better than from the range of their entries.
        shape: its dimensions, None where one is unknown; None where nothing is known.
        read: gives the values of a constant; None for others.
    """

    name: str
    bound: float
    discrete: bool = False
    static_shape: bool = True
    known: Range = ANYTHING
    lengths: Lengths = field(default_factory=dict)
    shape: Dims | None = None
    read: Reader | None = field(default=None, repr=False)

    @property
    def lipschitz(self) -> float:
        """`bound`.

        Raises:
            UnboundedError: it is discrete.
        """
        if self.discrete:
            raise UnboundedError(f"its input {self.name!r} jumps with the network's input")
        return self.bound

    @cached_property
    def range(self) -> Range:
        """Holds all its entries; those of a constant are looked at where it is not too large."""
        values = self._numbers()
        return self.known if values is None else outward_range(float(values.min()), float(values.max()))

    @cached_property
    def own_lengths(self) -> Lengths:
        """Of the vectors of a constant that is not too large, along each axis."""
        values = self._numbers()
        if values is None or values.dtype.kind == "b":
            return {}
        whole = values.astype("float64")
        norms = {axis - whole.ndim: (whole * whole).sum(axis=axis).max() for axis in range(whole.ndim)}
        roundings = max(whole.shape, default=0) + 4
        return {axis: math.sqrt(float(square)) * up(roundings) for axis, square in norms.items()}

    def _numbers(self) -> NDArray[np.generic] | None:
        """The values of a constant of real numbers that is not too large; None for anything else."""
        if self.read is None or self.shape is None or None in self.shape:
            return None
        if not 0 < math.prod(size or 0 for size in self.shape) <= MAX_ELEMENTS:
            return None
        try:
            values = self.read()
        except UnknownValueError:
            return None
        return values if values.dtype.kind in "fiub" else None

    @property
    def constant(self) -> bool:
        """Whether it does not vary with the network's input."""
        return self.bound == 0 and not self.discrete

    @property
    def held(self) -> bool:
        """Whether it is fed to the network and held fixed: it does not vary, and nobody knows its values."""
        return self.constant and self.read is None

    def value(self) -> NDArray[np.generic]:
        """The values of a constant, an array of `shape`.

        Raises:
            UnboundedError: it varies, or convsv cannot compute it.
        """
        if self.read is None:
            raise UnboundedError(f"its input {self.name!r} is not known before the network runs")
        try:
            return self.read()
        except UnknownValueError as error:
            raise UnboundedError(f"its input {self.name!r} is {error}") from error

    def sizes(self) -> tuple[int, ...]:
        """All dimensions.

        Raises:
            UnboundedError: one is unknown.
        """
        if self.shape is None or None in self.shape:
            raise UnboundedError(f"the shape of {self.name!r} is not known", lacks=SIZES)
        return tuple(size for size in self.shape if size is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """A node with what is known of its tensors.

    Attributes:
        node: op, attributes and names.
        inputs: None for an optional one that is left out.
        outputs: name and dimensions of each; the name is empty where nothing uses it.
        maps: gives the linear maps that the node is, in the order of its weights.
        norms: gives certified norms of these; raises `UnboundedError`.
    """

    node: Node
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[tuple[str, Dims | None], ...]
    maps: Callable[[], Sequence[LinearMap | Unsupported]] = tuple
    norms: Callable[[], tuple[float, ...]] = tuple

    def attribute(self, name: str, default: T) -> T:
        """The node's attribute.

        Args:
            name: as ONNX calls it.
            default: what it is where it is absent.
        """
        return self.node.attribute(name, default)

    def input(self, index: int) -> Tensor:
        """An input that must be there.

        Args:
            index: from 0, in the order of the operator's definition.

        Raises:
            UnboundedError: it is not.
        """
        tensor = self.optional(index)
        if tensor is None:
            raise UnboundedError(f"its input {index} is missing")
        return tensor

    def optional(self, index: int) -> Tensor | None:
        """An input, or None.

        Args:
            index: from 0, in the order of the operator's definition.
        """
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def given(self) -> tuple[Tensor, ...]:
        """The inputs that are there."""
        return tuple(tensor for tensor in self.inputs if tensor is not None)

    @cached_property
    def names_of_several(self) -> frozenset[str]:
        """Names of the inputs that have several entries, or may have."""
        return frozenset(each.name for each in self.given if each.shape is None or set(each.shape) - {1})

    @property
    def varying(self) -> tuple[Tensor, ...]:
        """The inputs that vary with the network's input."""
        return tuple(tensor for tensor in self.given if not tensor.constant)

    def moving(self, bounds: Mapping[str, float]) -> Operation:
        """The same, as inputs move by other amounts.

        Args:
            bounds: Lipschitz constants of inputs that vary, by name; all of them.
        """
        inputs = (
            replace(tensor, bound=bounds[tensor.name])
            if tensor is not None and not tensor.constant
            else tensor
            for tensor in self.inputs
        )
        return replace(self, inputs=tuple(inputs))

    def letting_vary(self) -> Operation:
        """The same, as if inputs that are held fixed, and not known, varied with the network's."""
        inputs = (
            replace(each, bound=1.0) if each is not None and each.held else each for each in self.inputs
        )
        return replace(self, inputs=tuple(inputs))

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        """All dimensions of an output.

        Args:
            index: from 0, in the order of the operator's definition.

        Raises:
            UnboundedError: one is unknown.
        """
        name, shape = self.outputs[index]
        return Tensor(name=name, bound=math.inf, shape=shape).sizes()


Gain = Callable[[Operation], float]
"""Upper bound of the Lipschitz constant of a node's real outputs, from those of its inputs.

It must not look at whether these are finite, so that every node without a bound is found in one run.
"""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is known of an operator.

    Attributes:
        lipschitz: see `Gain`; raises `UnboundedError` where there is no bound.
        apart: the square of how far the outputs move is at most the sum of the squares of how far each input
            moves them by itself.
        range: of the entries of the outputs; raises `UnboundedError` where nothing is known of it.
        lengths: of the vectors of the outputs, likewise.
    """

    lipschitz: Gain
    apart: bool = False
    range: Callable[[Operation], Range] = lambda _: ANYTHING
    lengths: Callable[[Operation], Lengths] = lambda _: {}


Rules = Mapping[str, Rule]
