"""Sliding windows: pooling, over windows or all of an image, and Col2Im."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convsv_cli.digits import short
from convsv_cli.lipschitz.axis_matrices import Windows
from convsv_cli.lipschitz.operands import first, integers, same, same_or_zero, unbounded
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import UP, root, times


def max_pooled(operation: Operation) -> float:
    """MaxPool: the root of the largest number of windows that one entry belongs to; attained by a spike.

    |max_w a - max_w b|^2 is at most the sum of |a - b|^2 over the window, which counts each entry as often as
    there are windows around it.
    """
    return times(root(_overlap(windows_of(operation))), operation.input(0).lipschitz)


def averaged(operation: Operation) -> float:
    """AveragePool: the product over the axes of the norm of the averages along one.

    Exact at known sizes, except that older runtimes divide windows that stick out by more (`ceil_mode`).
    """
    include_pad = bool(operation.attribute("count_include_pad", 0))
    norms = (windows.average_norm(include_pad=include_pad) for windows in windows_of(operation))
    return times(*norms, operation.input(0).lipschitz)


def lp_pooled(operation: Operation) -> float:
    """LpPool: for p >= 2 as for MaxPool, as | |a|_p - |b|_p | <= |a - b|_p <= |a - b|_2; attained by a spike.

    For p = 1 the norm of the sums over windows, attained at positive inputs.
    """
    windows = windows_of(operation)
    if _p(operation) == 1:
        norms = [axis.sum_norm() for axis in windows]
    else:
        norms = [root(axis.overlap()) for axis in windows]
    return times(*norms, operation.input(0).lipschitz)


def globally_averaged(operation: Operation) -> float:
    """GlobalAveragePool: 1 / sqrt(n) for n entries per channel; an unknown size may be 1."""
    source = operation.input(0)
    known = [size for size in (source.shape or ())[2:] if size]
    return times(UP / math.sqrt(math.prod(known)) if known else 1.0, source.lipschitz)


def globally_largest(operation: Operation) -> float:
    """GlobalMaxPool: 1."""
    return operation.input(0).lipschitz


def globally_lp(operation: Operation) -> float:
    """GlobalLpPool: 1 for p >= 2, sqrt(n) for p = 1."""
    return times(root(_entries(operation)) if _p(operation) == 1 else 1.0, operation.input(0).lipschitz)


def folded(operation: Operation) -> float:
    """Col2Im: each entry of the image is a sum over the blocks around it; the root of their number."""
    source = first(operation)
    return times(root(_most_blocks(operation)), source.lipschitz)


def _most_blocks(operation: Operation) -> int:
    """How many blocks an entry of the image is in.

    Of blocks that are not known, no two hold it at the same place, and none holds it twice.
    """
    if not (operation.input(1).held or operation.input(2).held):
        return _overlap(_blocks(operation))
    _, places, count = operation.input(0).sizes()
    return min(count, places // max(1, operation.output_shape()[1]))


def unpooled(operation: Operation) -> float:
    """MaxUnpool: each entry is put at one place and added to none, as long as indices are fixed."""
    if not operation.input(1).constant:
        raise UnboundedError(f"where it puts {operation.input(0).name!r} jumps with the network's input")
    return first(operation).lipschitz


def _overlap(windows: Sequence[Windows]) -> int:
    """The largest number of windows that one entry belongs to."""
    return math.prod(axis.overlap() for axis in windows)


def windows_of(operation: Operation) -> list[Windows]:
    """The windows of a pooling node, along each axis.

    Raises:
        UnboundedError: its attributes say nothing of them.
    """
    kernel = operation.attribute("kernel_shape", ())
    if not kernel:
        raise UnboundedError("its attribute kernel_shape is missing")
    rank, shape = len(kernel), operation.input(0).shape
    return _along_axes(operation, (None,) * rank if shape is None else shape[-rank:], kernel)


def _blocks(operation: Operation) -> list[Windows]:
    """Those of a Col2Im."""
    return _along_axes(
        operation, integers(operation, 1, "image shape"), integers(operation, 2, "block shape")
    )


def _along_axes(operation: Operation, sizes: Sequence[int | None], kernel: Sequence[int]) -> list[Windows]:
    rank = len(kernel)
    strides = operation.attribute("strides", (1,) * rank)
    dilations = operation.attribute("dilations", (1,) * rank)
    axes = zip(sizes, kernel, strides, dilations, _pads(operation, rank), strict=True)
    ceil = bool(operation.attribute("ceil_mode", 0))
    found = [
        Windows(
            size=size,
            kernel=taps,
            stride=stride,
            dilation=dilation,
            pads=_same(operation, size, taps, stride, dilation) if pads is None else pads,
            ceil=ceil,
        )
        for size, taps, stride, dilation, pads in axes
    ]
    if not ceil and any(map(_sticks_out, found)):
        raise UnboundedError("its window is larger than what it slides over: runtimes disagree on its output")
    return found


def _sticks_out(axis: Windows) -> bool:
    """Whether no window fits: ONNX has no output then, onnxruntime rounds towards zero and has one."""
    if axis.size is None or axis.pads is None:
        return False
    return axis.size + sum(axis.pads) < axis.dilation * (axis.kernel - 1) + 1


def _pads(operation: Operation, rank: int) -> tuple[tuple[int, int] | None, ...]:
    """Before and after each axis; None where they follow from the sizes."""
    automatic = operation.attribute("auto_pad", "NOTSET")
    if automatic == "NOTSET":
        pads = operation.attribute("pads", (0,) * (2 * rank))
        return tuple(zip(pads[:rank], pads[rank:], strict=True))
    if automatic == "VALID":
        return ((0, 0),) * rank
    if automatic not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnboundedError(f"its auto_pad {automatic!r} is unknown to ONNX")
    return (None,) * rank


def _same(
    operation: Operation, size: int | None, kernel: int, stride: int, dilation: int
) -> tuple[int, int] | None:
    """Padding such that there are ceil(size / stride) windows; with dilation, runtimes do not agree on it."""
    if size is None or dilation > 1:
        return None
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    small, large = total // 2, total - total // 2
    return (small, large) if operation.attribute("auto_pad", "") == "SAME_UPPER" else (large, small)


def _p(operation: Operation) -> float:
    p = float(operation.attribute("p", 2))
    if p != 1 and p < 2:
        raise UnboundedError(f"its p = {short(p)} is neither 1 nor at least 2")
    return p


def _entries(operation: Operation) -> int:
    """Per channel."""
    return math.prod(operation.input(0).sizes()[2:])


def _max_range(operation: Operation) -> Range:
    """The same, unless a window may lie in the padding, which is minus infinity."""
    safe = all(windows.never_empty for windows in windows_of(operation))
    return operation.input(0).range if safe else ANYTHING


def _average_range(operation: Operation) -> Range:
    """The same where padding does not count, else also zero."""
    included = bool(operation.attribute("count_include_pad", 0))
    safe = all(windows.never_empty for windows in windows_of(operation)) and not included
    return same(operation) if safe else same_or_zero(operation)


def _lp_range(operation: Operation) -> Range:
    return _p_norm(operation, math.prod(windows.kernel for windows in windows_of(operation)))


def _global_lp_range(operation: Operation) -> Range:
    return _p_norm(operation, _entries(operation))


def _p_norm(operation: Operation, count: int) -> Range:
    """Of `count` entries."""
    return outward_range(0.0, count ** (1 / _p(operation)) * operation.input(0).range.magnitude)


def _folded_range(operation: Operation) -> Range:
    source, overlap = same_or_zero(operation), _most_blocks(operation)
    return outward_range(overlap * source.lower, overlap * source.upper)


REGIONS = unbounded("convsv knows no bound for the regions of {op}")

RULES = {
    "MaxPool": Rule(lipschitz=max_pooled, range=_max_range),
    "AveragePool": Rule(lipschitz=averaged, range=_average_range),
    "LpPool": Rule(lipschitz=lp_pooled, range=_lp_range),
    "GlobalAveragePool": Rule(lipschitz=globally_averaged, range=same),
    "GlobalMaxPool": Rule(lipschitz=globally_largest, range=same),
    "GlobalLpPool": Rule(lipschitz=globally_lp, range=_global_lp_range),
    "MaxUnpool": Rule(lipschitz=unpooled, range=same_or_zero),
    "MaxRoiPool": Rule(lipschitz=REGIONS),
    "RoiAlign": Rule(lipschitz=REGIONS),
    "Col2Im": Rule(lipschitz=folded, range=_folded_range),
}
