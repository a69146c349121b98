"""How long the vectors in a tensor are: those of the entries along one axis, such as tokens of a sequence.

A normalized token of n entries has at most the length sqrt(n), and each of its entries may be almost as
large; its length bounds products of two tensors far better than the range of its entries does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from convsv_cli.lipschitz.operation import Lengths, Operation, Tensor
from convsv_cli.numerics.rounding import UP_MANY, root, times, total

NO_LENGTHS: Lengths = {}


def length(tensor: Tensor, axis: int) -> float:
    """Upper bound of the L2 norms of a tensor's vectors along an axis; infinite where there is none.

    Args:
        tensor: an input.
        axis: counted from the last one, which is -1.
    """
    shape = tensor.shape
    if shape is None or -axis > len(shape) or shape[axis] is None:
        return tensor.lengths.get(axis, math.inf)
    size = shape[axis] or 0
    found = [tensor.lengths.get(axis, math.inf), times(root(size), tensor.range.magnitude)]
    if tensor.constant:
        found.append(tensor.own_lengths.get(axis, math.inf))
    return min(found)


def broadcast(tensor: Tensor, axis: int, operation: Operation) -> float:
    """`length` after a tensor was broadcast to the shape of the operation's output.

    Args:
        tensor: an input.
        axis: of the output, counted from the last one.
        operation: the node.
    """
    _, output = operation.outputs[0]
    size = None if output is None or -axis > len(output) else output[axis]
    own = tensor.shape
    if size is None or own is None:
        return math.inf
    if -axis > len(own) or (own[axis] == 1 and size != 1):
        return times(root(size), tensor.range.magnitude)
    return length(tensor, axis) if own[axis] == size else math.inf


def reversed_(operation: Operation) -> Lengths:
    """ReverseSequence: but for the axis of samples, along which the entries of several times meet."""
    shape = operation.input(0).shape
    if shape is None:
        return NO_LENGTHS
    samples = operation.attribute("batch_axis", 1) % len(shape) - len(shape)
    return {axis: value for axis, value in operation.input(0).lengths.items() if axis != samples}


def axes_of(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    """The axes along which something is known of a tensor that varies."""
    return tuple({axis: None for tensor in tensors for axis in tensor.lengths})


def kept(operation: Operation) -> Lengths:
    """Those of the first input: vectors of the output are parts of its vectors, along the same axes."""
    return operation.input(0).lengths


def scaled(lengths: Lengths, factor: float) -> Lengths:
    """All of them times a factor.

    Args:
        lengths: by axis.
        factor: not negative.
    """
    return finite({axis: times(factor, value) for axis, value in lengths.items()})


def finite(lengths: Lengths) -> Lengths:
    """Those that say something."""
    return {axis: value for axis, value in lengths.items() if math.isfinite(value)}


def of_sum(operation: Operation) -> Lengths:
    """Add, Sub, Sum: no longer than all terms together."""
    return finite(
        {
            axis: total(broadcast(tensor, axis, operation) for tensor in operation.given)
            for axis in axes_of(operation.given)
        }
    )


def of_product(operation: Operation) -> Lengths:
    """Mul: the largest entry of one times the length of the other."""
    a, b = operation.input(0), operation.input(1)

    def along(axis: int) -> float:
        pairs = ((a, b), (b, a))
        return min(times(one.range.magnitude, broadcast(other, axis, operation)) for one, other in pairs)

    return finite({axis: along(axis) for axis in axes_of(operation.given)})


def of_quotient(operation: Operation) -> Lengths:
    """Div: the length of the first over the smallest entry of the second."""
    a, b = operation.input(0), operation.input(1)
    smallest = max(b.range.lower, -b.range.upper)
    if smallest <= 0:
        return NO_LENGTHS
    return finite(
        {axis: times(UP_MANY / smallest, broadcast(a, axis, operation)) for axis in axes_of(operation.given)}
    )


def reshaped(operation: Operation) -> Lengths:
    """Reshape and its kind: an axis that is split, kept, or put together with others.

    A part of a vector is no longer than that; m vectors of at most r are together at most sqrt(m) r long.
    """
    source, (_, after) = operation.input(0), operation.outputs[0]
    before = source.shape
    if before is None or after is None or None in before or None in after or 0 in before:
        return NO_LENGTHS
    found: dict[int, float] = {}
    for old, new in _groups([size or 1 for size in before], [size or 1 for size in after]):
        sizes = {axis: before[axis] or 1 for axis in old if before[axis] != 1} or {old[0]: 1}
        known = {axis: source.lengths.get(axis, math.inf) for axis in sizes}
        for axis in new:
            if len(sizes) == 1:
                found[axis] = min(known.values())
            elif [after[each] for each in new if after[each] != 1] == [after[axis]]:
                pieces = ((known[a], (after[axis] or 1) // size) for a, size in sizes.items())
                found[axis] = min((times(root(m), r) for r, m in pieces), default=math.inf)
    return finite(found)


def _groups(before: list[int], after: list[int]) -> list[tuple[list[int], list[int]]]:
    """Axes, counted from the last one, whose sizes have the same product, as small groups as there are."""
    groups, i, j = [], len(before), len(after)
    while i and j:
        old, new = [i - 1 - len(before)], [j - 1 - len(after)]
        a, b = before[i - 1], after[j - 1]
        i, j = i - 1, j - 1
        while a != b:
            if a < b and i:
                i -= 1
                a, old = a * before[i], [*old, i - len(before)]
            elif b < a and j:
                j -= 1
                b, new = b * after[j], [*new, j - len(after)]
            else:
                return []
        groups.append((old, new))
    return groups


def transposed(operation: Operation) -> Lengths:
    """Transpose: the axes in another order."""
    shape = operation.input(0).shape
    if shape is None:
        return NO_LENGTHS
    rank = len(shape)
    order = operation.attribute("perm", tuple(reversed(range(rank))))
    lengths = operation.input(0).lengths
    return {new - rank: lengths[old - rank] for new, old in enumerate(order) if (old - rank) in lengths}


def joined(operation: Operation) -> Lengths:
    """Concat: along its axis all together, along others the longest."""
    (_, output), parts = operation.outputs[0], operation.given
    if output is None:
        return NO_LENGTHS
    axis = operation.attribute("axis", 0)
    at = axis if axis < 0 else axis - len(output)
    found = {}
    for along in axes_of(parts):
        values = [length(tensor, along) for tensor in parts]
        found[along] = math.hypot(*values) * UP_MANY if along == at else max(values)
    return finite(found)


def repeated(operation: Operation) -> Lengths:
    """Expand, Tile: along axes that stay as they are."""
    before, (_, after) = operation.input(0).shape, operation.outputs[0]
    if before is None or after is None:
        return NO_LENGTHS
    return {
        axis: value
        for axis, value in operation.input(0).lengths.items()
        if -axis <= min(len(before), len(after)) and before[axis] == after[axis] is not None
    }


def looked_up(operation: Operation) -> Lengths:
    """Gather at constant indices: along the axes behind its own, which keep their place from the last on."""
    source, axis = operation.input(0), operation.attribute("axis", 0)
    if source.shape is None:
        return NO_LENGTHS
    at = axis if axis < 0 else axis - len(source.shape)
    return {along: value for along, value in source.lengths.items() if along > at}
