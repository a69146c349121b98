"""Entries that are moved, left out, put together or repeated: an entry with m copies counts sqrt(m).

The constant of a sequence of tensors, or of an optional one, is that of its members put together. What is put
into it, taken out of it or left in it is each member at most once, as long as positions do not vary; those of
two sequences are only apart where these have equally many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from onnx import TensorProto, numpy_helper

from convsv_cli.lipschitz import lengths
from convsv_cli.lipschitz.lengths import NO_LENGTHS, kept, repeated, reshaped, reversed_, transposed
from convsv_cli.lipschitz.operands import (
    ZERO,
    any_of_them,
    first,
    integers,
    optional_integers,
    require_constant,
    same,
    same_or_zero,
    unbounded,
)
from convsv_cli.lipschitz.operation import Lengths, Operation, Rule, UnboundedError
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import root, root_of_squares, times

MODES = ("constant", "edge", "reflect", "wrap")
JUMPS = "what {op} gives jumps with the network's input"


def moved(operation: Operation) -> float:
    """Reshape, Transpose, Slice, SequenceAt, ...: each entry appears at most once, where constants say."""
    return first(operation).lipschitz


def joined(operation: Operation) -> float:
    """Concat, SequenceConstruct: the root of the sum of squares."""
    return root_of_squares(tensor.lipschitz for tensor in operation.given)


def sorted_(operation: Operation) -> float:
    """TopK: values in order are 1-Lipschitz (rearrangement inequality); unordered, they jump."""
    if not operation.attribute("sorted", 1):
        raise UnboundedError("the order of its values (sorted = 0) jumps with the network's input")
    return first(operation).lipschitz


def expanded(operation: Operation) -> float:
    """Expand: the root of the number of copies; for an unknown size, the most that its shape allows."""
    source = first(operation)
    target = operation.output_shape() if operation.input(1).held else integers(operation, 1, "shape")
    before = (None,) * len(target) if source.shape is None else source.shape
    aligned = (1,) * (len(target) - len(before)) + before
    aligned = aligned[len(aligned) - len(target) :] if target else ()
    copies = (to if old in (None, 1) else 1 for old, to in zip(aligned, target, strict=True))
    return times(root(math.prod(copies)), source.lipschitz)


def tiled(operation: Operation) -> float:
    """Tile: the root of the product of its repeats."""
    source = first(operation)
    if operation.input(1).held:
        copies = math.prod(operation.output_shape()) // max(1, math.prod(source.sizes()))
    else:
        copies = math.prod(integers(operation, 1, "repeats"))
    return times(root(copies), source.lipschitz)


def padded(operation: Operation) -> float:
    """Pad: the root of the largest number of copies, counted along each axis.

    Constants add nothing; a filler that varies fills at most all of the output. Only an upper bound where
    sizes are unknown, where cropping meets padding with copies, or where more is padded than there is.
    """
    source, filler = operation.input(0), operation.optional(2)
    require_constant(operation, 1, 3)
    copies = 1
    if _mode(operation) != "constant":
        copies = math.prod(_copies(operation, axis, *ends) for axis, ends in _pads(operation).items())
    own = times(root(copies), source.lipschitz)
    if _mode(operation) != "constant" or filler is None or filler.constant:
        return own
    return root_of_squares((own, times(root(math.prod(operation.output_shape())), filler.lipschitz)))


def one_hot(operation: Operation) -> float:
    """OneHot of two values that vary, by indices that do not: at most all entries are one of the two."""
    if not operation.input(0).constant or not operation.input(1).constant:
        raise UnboundedError(JUMPS.format(op=operation.node.op))
    return times(root(math.prod(operation.output_shape())), operation.input(2).lipschitz)


def _mode(operation: Operation) -> str:
    mode = operation.attribute("mode", "constant")
    if mode not in MODES:
        raise UnboundedError(f"its mode {mode!r} is unknown to convsv")
    return mode


def _pads(operation: Operation) -> dict[int, tuple[int, int]]:
    """Before and after, by axis."""
    pads, axes = integers(operation, 1, "pads"), optional_integers(operation, 3)
    rank = len(pads) // 2
    ends = zip(pads[:rank], pads[rank:], strict=True)
    return dict(zip(range(rank) if axes is None else axes, ends, strict=True))


def _copies(operation: Operation, axis: int, before: int, after: int) -> int:
    """The largest number of copies of an entry along an axis; never more than one and all of the padding."""
    mode, shape = _mode(operation), operation.input(0).shape
    size = (shape[axis] if shape is not None else None) or 0
    most = {"edge": math.inf, "reflect": size - 1, "wrap": size}[mode]
    if not size or min(before, after) < 0 or max(before, after) > most:
        return 1 + max(0, before) + max(0, after)
    if mode == "edge":
        return 1 + (before + after if size == 1 else max(before, after))
    if mode == "wrap":
        return -(-(size + before + after) // size)
    both = max(1, size - 1 - after) <= min(before, size - 2)  # entries 1 .. before, and as many from the end
    return 1 + bool(before or after) + both


def _padded_range(operation: Operation) -> Range:
    """The hull with the constant."""
    source, filler = operation.input(0).range, operation.optional(2)
    if _mode(operation) != "constant":
        return source
    return source.hull(ZERO if filler is None else filler.range)


def _filled_range(operation: Operation) -> Range:
    value = operation.attribute("value", None)
    if value is None:
        return outward_range(0.0, 0.0)
    if not isinstance(value, TensorProto) or value.data_location == TensorProto.EXTERNAL:
        return ANYTHING
    number = float(numpy_helper.to_array(value).reshape(()))
    return outward_range(number, number)


def inserted(operation: Operation) -> float:
    """SequenceInsert: of the sequence and of what is put into it."""
    require_constant(operation, 2)
    return root_of_squares((operation.input(0).lipschitz, operation.input(1).lipschitz))


MOVED: Mapping[str, Callable[[Operation], Lengths]] = {
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), reshaped),
    **dict.fromkeys(("Slice", "Split"), kept),
    "ReverseSequence": reversed_,
    **dict.fromkeys(("Compress", "DepthToSpace", "SpaceToDepth"), lambda _: NO_LENGTHS),
    "Transpose": transposed,
}
PASSED = (
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "SequenceAt",
    "SequenceErase",
    "SplitToSequence",
)
"""Of sequences, whose members are what they were."""

RULES = {
    **{op: Rule(lipschitz=moved, range=same, lengths=MOVED[op]) for op in MOVED},
    "CenterCropPad": Rule(lipschitz=moved, range=same_or_zero),
    "Trilu": Rule(lipschitz=moved, range=same_or_zero),
    "Concat": Rule(lipschitz=joined, apart=True, range=any_of_them, lengths=lengths.joined),
    "TopK": Rule(lipschitz=sorted_, range=same),
    "Expand": Rule(lipschitz=expanded, range=same, lengths=repeated),
    "Tile": Rule(lipschitz=tiled, range=same, lengths=repeated),
    "Pad": Rule(lipschitz=padded, apart=True, range=_padded_range),
    "ConstantOfShape": Rule(
        lipschitz=unbounded("the size of what it makes, {input}, varies with the network's input"),
        range=_filled_range,
    ),
    "OneHot": Rule(lipschitz=one_hot, range=lambda operation: operation.input(2).range),
    "Unique": Rule(lipschitz=unbounded(JUMPS), range=same),
    **dict.fromkeys(PASSED, Rule(lipschitz=moved, range=same)),
    "SequenceConstruct": Rule(lipschitz=joined, range=any_of_them),
    "SequenceInsert": Rule(
        lipschitz=inserted, range=lambda operation: operation.input(0).range.hull(operation.input(1).range)
    ),
}
