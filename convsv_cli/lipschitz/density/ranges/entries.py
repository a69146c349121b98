"""What the rules of ranges read and write: the intervals of tensors, of constants too."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from convsv_cli import limits
from convsv_cli.lipschitz.operation import MAX_ELEMENTS, Operation, Tensor, UnboundedError
from convsv_cli.model.graph import Graph, Node
from convsv_cli.numerics.intervals import ANYTHING, Array, Intervals, Range, widened

MOST = 2**20
"""Entries that are told apart; of a tensor with more, only channels are."""
ROOM = 2**24
"""Entries that are told apart of all tensors together: 256 MB."""
WORK = 20
"""Steps of the model's allowance for each of them."""
MOST_AXES = 32
"""That NumPy broadcasts along; of a tensor with more, nothing is known here."""


class Entries:
    """The intervals of tensors, as far as they are known.

    Args:
        graph: that the tensors are of.
        known: what all entries of a tensor are in, by its name.

    Attributes:
        found: by name, arrays with as many axes as the tensor, each of its length or 1.
    """

    def __init__(self, graph: Graph, known: Mapping[str, Range]) -> None:
        self.graph, self._known = graph, known
        self.found: dict[str, Intervals] = {}
        self._left = ROOM

    def add(self, tensor: str, interval: Intervals) -> None:
        """Keep what was found of a tensor, with what is known of it otherwise, as long as there is room.

        Raises:
            LimitError: the model's steps are used up.
        """
        if not tensor or interval.lower.ndim > MOST_AXES:
            return
        over = self._known.get(tensor, ANYTHING)
        lower, upper = np.broadcast_arrays(interval.lower, interval.upper)
        both = Intervals(np.maximum(lower, over.lower), np.minimum(upper, over.upper))
        limits.spend(WORK * both.lower.size + limits.OBJECT, "following what its entries are in", share=0.5)
        if both.lower.size > min(MOST, self._left):
            both = hull_along(both, [axis for axis in range(both.lower.ndim) if axis != 1])
        if both.lower.size <= self._left:
            self._left -= both.lower.size
            self.found[tensor] = both

    def of(self, tensor: str) -> Intervals:
        """The interval of each entry.

        Raises:
            UnboundedError: nothing is known of it, not even how many axes it has, or these are too many.
            UnknownValueError: it is a constant that cannot be computed.
        """
        if tensor in self.found:
            return self.found[tensor]
        if tensor in self.graph.constants:
            return self._constant(tensor)
        over, shape = self._known.get(tensor, ANYTHING), self.graph.shapes.get(tensor)
        if shape is None or len(shape) > MOST_AXES:
            raise UnboundedError("the number of its axes is not known, or too large")
        ones = (1,) * len(shape)
        return Intervals(np.full(ones, over.lower), np.full(ones, over.upper))

    def first(self, node: Node) -> Intervals:
        """Of its first input."""
        return self.of(node.inputs[0])

    def shape(self, tensor: str) -> tuple[int | None, ...]:
        """The dimensions of a tensor.

        Raises:
            UnboundedError: nothing is known of them.
        """
        found = self.graph.shapes.get(tensor)
        if found is None:
            raise UnboundedError("its shape is not known")
        return found

    def whole(self, tensor: str, axes: tuple[int, ...]) -> Intervals:
        """With all entries along some axes, of known lengths.

        Raises:
            UnboundedError: a length is not known, or there are too many entries.
        """
        found, shape = self.of(tensor), self.shape(tensor)
        sizes = list(found.lower.shape)
        for axis in axes:
            length = shape[axis]
            if length is None:
                raise UnboundedError("its shape is not known")
            sizes[axis] = length
        if math.prod(sizes) > MOST:
            raise UnboundedError("too many entries")
        return Intervals(np.broadcast_to(found.lower, sizes), np.broadcast_to(found.upper, sizes))

    def operation(self, node: Node) -> Operation:
        """The node as the rules of numbers see it, for its attributes and constants."""
        inputs = (self._tensor(name) if name else None for name in node.inputs)
        outputs = ((name, self.graph.shapes.get(name)) for name in node.outputs)
        return Operation(node=node, inputs=tuple(inputs), outputs=tuple(outputs))

    def _tensor(self, name: str) -> Tensor:
        return Tensor(name=name, bound=1.0, shape=self.graph.shapes.get(name), read=self.graph.reader(name))

    def _constant(self, tensor: str) -> Intervals:
        """Its values, and what rounding did to them."""
        constant = self.graph.constant(tensor)
        if constant is None or math.prod(constant.shape) > MAX_ELEMENTS:
            raise UnboundedError("a constant that is too large")
        values = constant.read()
        if values.dtype.kind not in "fiub" and "float" not in values.dtype.name:
            raise UnboundedError("a constant that is not real")
        numbers, error = values.astype(np.float64), constant.error()
        return widened(numbers, numbers, 0.0, error) if error else Intervals(numbers, numbers)


def hull_along(found: Intervals, axes: list[int]) -> Intervals:
    """One interval for all entries along some axes, which keep a length of 1."""
    along = tuple(axes)
    return Intervals(found.lower.min(axis=along, keepdims=True), found.upper.max(axis=along, keepdims=True))


def hull_with(found: Intervals, lower: float, upper: float) -> Intervals:
    """Each of them, and the numbers between these as well."""
    return Intervals(np.minimum(found.lower, lower), np.maximum(found.upper, upper))


def finite(found: Intervals) -> tuple[Array, Array]:
    """Both ends.

    Raises:
        UnboundedError: one is infinite.
    """
    if not (np.isfinite(found.lower).all() and np.isfinite(found.upper).all()):
        raise UnboundedError("entries that may be arbitrarily large")
    return found.lower, found.upper


def aligned(found: Intervals, rank: int) -> Intervals:
    """With axes of length 1 before its own, as broadcasting adds them.

    Raises:
        ValueError: it has more axes than that.
    """
    ones = (1,) * (rank - found.lower.ndim)
    if found.lower.ndim > rank:
        raise ValueError(rank)
    return Intervals(
        found.lower.reshape(ones + found.lower.shape), found.upper.reshape(ones + found.upper.shape)
    )


def along_channels(found: Intervals, rank: int) -> Intervals:
    """One number per channel, [channels], along axis 1 of `rank`.

    Raises:
        ValueError: it has other axes.
    """
    shape = (1, found.lower.size, *(1,) * (rank - 2))
    if found.lower.ndim != 1 or rank < 2:
        raise ValueError(rank)
    return Intervals(found.lower.reshape(shape), found.upper.reshape(shape))
