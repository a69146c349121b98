"""Entries put together, taken apart, left out, padded and moved; other shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from convsv_cli.lipschitz.density.ranges.entries import ROOM, Entries, hull_along, hull_with
from convsv_cli.lipschitz.operands import integers, optional_integers, slices
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.model.graph import Node
from convsv_cli.numerics.intervals import Array, Intervals

Move = Callable[[Array], Array]


def joined(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Concat."""
    rank = len(known.shape(node.inputs[0]))
    axis = node.attribute("axis", 0) % rank
    parts = [known.whole(name, (axis,)) for name in node.inputs]
    others = [list(part.lower.shape) for part in parts]
    for shape in others:
        shape[axis] = 1
    common = list(np.broadcast_shapes(*map(tuple, others)))
    if math.prod(common) * sum(part.lower.shape[axis] for part in parts) > ROOM:
        raise UnboundedError("too many entries")

    def all_of(ends: list[Array]) -> Array:
        full = [(*common[:axis], end.shape[axis], *common[axis + 1 :]) for end in ends]
        return np.concatenate([np.broadcast_to(e, to) for e, to in zip(ends, full, strict=True)], axis)

    return (Intervals(all_of([part.lower for part in parts]), all_of([part.upper for part in parts])),)


def split(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Split."""
    source, rank = node.inputs[0], len(known.shape(node.inputs[0]))
    axis = node.attribute("axis", 0) % rank
    x, start, parts = known.whole(source, (axis,)), 0, []
    for output in node.outputs:
        length = known.shape(output)[axis]
        if length is None:
            raise UnboundedError("its shape is not known")
        parts.append(_moved(x, lambda end, at=slice(start, start + length): _taken(end, axis, at)))  # type: ignore[misc]
        start += length
    return tuple(parts)


def sliced(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Slice, along axes whose entries are told apart."""
    operation, x, rank = known.operation(node), known.first(node), len(known.shape(node.inputs[0]))
    for axis, at in slices(operation):
        along = axis % rank
        if x.lower.shape[along] > 1:
            x = _moved(x, lambda values, at=at, along=along: _taken(values, along, at))  # type: ignore[misc]
    return (x,)


def padded(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Pad: along an axis whose entries are told apart, the others are beside them; else the hull of both."""
    operation, x, rank = known.operation(node), known.first(node), len(known.shape(node.inputs[0]))
    pads, axes = integers(operation, 1, "pads"), optional_integers(operation, 3)
    axes = tuple(range(rank)) if axes is None else tuple(axis % rank for axis in axes)
    constant = node.attribute("mode", "constant") == "constant"
    least, largest = _filler(node, known) if constant else (np.inf, -np.inf)
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[len(axes) + i]
        if x.lower.shape[axis] > 1 and constant and min(before, after) >= 0:
            width = [(0, 0)] * rank
            width[axis] = (before, after)
            x = Intervals(
                np.pad(x.lower, width, constant_values=least), np.pad(x.upper, width, constant_values=largest)
            )
        elif before or after:
            x = hull_with(hull_along(x, [axis]), least, largest)
    return (x,)


def _filler(node: Node, known: Entries) -> tuple[float, float]:
    name = node.input(2)
    value = known.of(name) if name else Intervals(np.zeros(1), np.zeros(1))
    return float(value.lower.min()), float(value.upper.max())


def reshaped(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Reshape, Flatten, Squeeze, Unsqueeze: the same entries in the same order.

    A first axis of unknown length stays; all others are known.
    """
    source, output = node.inputs[0], node.outputs[0]
    before, after = known.shape(source), known.shape(output)
    if (before[:1] == (None,)) != (after[:1] == (None,)) or None in (*before[1:], *after[1:]):
        raise UnboundedError("its shape is not known")
    ones = (1,) * len(after)
    if known.of(source).lower.size == 1:
        return (_moved(known.of(source), lambda end: end.reshape(ones)),)
    axes = tuple(axis for axis, size in enumerate(before) if size is not None)
    shape = tuple(size or 1 for size in after)
    return (_compressed(_moved(known.whole(source, axes), lambda end: end.reshape(shape))),)


def transposed(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Transpose."""
    x = known.first(node)
    order = node.attribute("perm", tuple(reversed(range(x.lower.ndim))))
    return (_moved(x, lambda end: end.transpose(order)),)


def unchanged(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Identity."""
    return (known.first(node),)


def _moved(x: Intervals, move: Move) -> Intervals:
    """Both ends, moved alike."""
    return Intervals(move(x.lower), move(x.upper))


def _taken(values: Array, axis: int, at: slice) -> Array:
    return values[(slice(None),) * axis + (at,)]


def _compressed(x: Intervals) -> Intervals:
    """With one entry along each axis along which all are equal."""
    for axis in range(x.lower.ndim):
        first = _moved(x, lambda end, axis=axis: _taken(end, axis, slice(0, 1)))  # type: ignore[misc]
        if (x.lower == first.lower).all() and (x.upper == first.upper).all():
            x = first
    return x


ROWS = {
    "Concat": joined,
    "Split": split,
    "Slice": sliced,
    "Pad": padded,
    "Transpose": transposed,
    "Identity": unchanged,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), reshaped),
}
