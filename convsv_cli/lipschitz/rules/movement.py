"""Entries that are moved, left out, sorted, put together or summed up along an axis."""

from __future__ import annotations

import math

from convsv_cli.lipschitz.arguments import (
    first,
    integers,
    same,
    same_or_zero,
    size_of,
)
from convsv_cli.lipschitz.axis_matrices import root
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError
from convsv_cli.lipschitz.windows import Windows
from convsv_cli.numerics.arithmetic import root_of_squares, times
from convsv_cli.numerics.ranges import Range, outward
from convsv_cli.numerics.rounding import UP_MANY


def moved(operation: Operation) -> float:
    """Reshape, Transpose, Slice, Split, Trilu, ...: each entry appears at most once, where constants say."""
    return first(operation).lipschitz


def joined(operation: Operation) -> float:
    """Concat: the root of the sum of squares."""
    return root_of_squares(tensor.lipschitz for tensor in operation.given if not tensor.constant)


def sorted_(operation: Operation) -> float:
    """TopK: values in order are 1-Lipschitz (rearrangement inequality); in no order they jump."""
    if not operation.attribute("sorted", 1):
        raise UnboundedError("the order of its values (sorted = 0) jumps with the network's input")
    return first(operation).lipschitz


def accumulated(operation: Operation) -> float:
    """CumSum: 1 / (2 sin(pi / (2 (2 n + 1)))) for n terms, the last of which does not count if exclusive."""
    source, axes = first(operation), integers(operation, 1)
    if axes is None or len(axes) != 1:
        raise UnboundedError("its axis is missing")
    terms = size_of(source, axes[0]) - bool(operation.attribute("exclusive", 0))
    if terms < 1:
        return 0.0
    return times(UP_MANY / (2 * math.sin(math.pi / (2 * (2 * terms + 1)))), source.lipschitz)


def folded(operation: Operation) -> float:
    """Col2Im: each entry of the image is a sum over the blocks around it; the root of their number."""
    source = first(operation)
    overlap = math.prod(windows.overlap() for windows in _blocks(operation))
    return times(root(overlap), source.lipschitz)


def jumping(operation: Operation) -> float:
    """Unique, OneHot: none."""
    raise UnboundedError(f"what {operation.node.op} gives jumps with the network's input")


def _blocks(operation: Operation) -> list[Windows]:
    image, block = integers(operation, 1), integers(operation, 2)
    if image is None or block is None:
        raise UnboundedError("its image or block shape is missing")
    rank = len(image)
    pads = operation.attribute("pads", (0,) * (2 * rank))
    return [
        Windows(size=size, kernel=kernel, stride=stride, dilation=dilation, pads=ends)
        for size, kernel, stride, dilation, ends in zip(
            image,
            block,
            operation.attribute("strides", (1,) * rank),
            operation.attribute("dilations", (1,) * rank),
            zip(pads[:rank], pads[rank:], strict=True),
            strict=True,
        )
    ]


def _joined_range(operation: Operation) -> Range:
    return operation.given[0].range.hull(*(tensor.range for tensor in operation.given[1:]))


def _accumulated_range(operation: Operation) -> Range:
    """Sums of up to n terms; none, where exclusive."""
    source, axes = operation.input(0), integers(operation, 1)
    terms = size_of(source, axes[0] if axes else 0)
    return outward(terms * min(0.0, source.range.lower), terms * max(0.0, source.range.upper))


def _folded_range(operation: Operation) -> Range:
    source = operation.input(0).range.hull(Range(lower=0.0, upper=0.0))
    overlap = math.prod(windows.overlap() for windows in _blocks(operation))
    return outward(overlap * source.lower, overlap * source.upper)


MOVED = (
    "Compress",
    "DepthToSpace",
    "Flatten",
    "Reshape",
    "ReverseSequence",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)

RULES = {
    **{op: Rule(lipschitz=moved, range=same) for op in MOVED},
    "CenterCropPad": Rule(lipschitz=moved, range=same_or_zero),
    "Trilu": Rule(lipschitz=moved, range=same_or_zero),
    "Concat": Rule(lipschitz=joined, range=_joined_range),
    "TopK": Rule(lipschitz=sorted_, range=same),
    "CumSum": Rule(lipschitz=accumulated, range=_accumulated_range),
    "Col2Im": Rule(lipschitz=folded, range=_folded_range),
    "OneHot": Rule(lipschitz=jumping),
    "Unique": Rule(lipschitz=jumping, range=same),
}
