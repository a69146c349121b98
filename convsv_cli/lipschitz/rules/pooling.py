"""Pooling over windows, and over all of an image."""

from __future__ import annotations

import math

from convsv_cli.lipschitz.arguments import same, same_or_zero
from convsv_cli.lipschitz.axis_matrices import root
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError
from convsv_cli.lipschitz.windows import pooling_windows
from convsv_cli.numerics.arithmetic import times
from convsv_cli.numerics.ranges import ANYTHING, Range, outward
from convsv_cli.numerics.rounding import UP


def max_pooled(operation: Operation) -> float:
    """MaxPool: the root of the largest number of windows that one entry belongs to; attained by a spike.

    |max_w a - max_w b|^2 is at most the sum of |a - b|^2 over the window, which counts each entry as often as
    there are windows around it.
    """
    overlap = math.prod(windows.overlap() for windows in pooling_windows(operation))
    return times(root(overlap), operation.input(0).lipschitz)


def averaged(operation: Operation) -> float:
    """AveragePool: the product over the axes of the norm of the averages along one.

    Exact at known sizes, except that older runtimes divide windows that stick out by more (`ceil_mode`).
    """
    include_pad = bool(operation.attribute("count_include_pad", 0))
    norms = (windows.average_norm(include_pad=include_pad) for windows in pooling_windows(operation))
    return times(*norms, operation.input(0).lipschitz)


def lp_pooled(operation: Operation) -> float:
    """LpPool: for p >= 2 as for MaxPool, as | |a|_p - |b|_p | <= |a - b|_p <= |a - b|_2; attained by a spike.

    For p = 1 the norm of the sums over windows, attained at positive inputs.
    """
    windows = pooling_windows(operation)
    if _p(operation) == 1:
        norms = [axis.sum_norm() for axis in windows]
    else:
        norms = [root(axis.overlap()) for axis in windows]
    return times(*norms, operation.input(0).lipschitz)


def globally_averaged(operation: Operation) -> float:
    """GlobalAveragePool: 1 / sqrt(n) for n entries a channel; an unknown size may be 1."""
    source = operation.input(0)
    known = [size for size in (source.shape or ())[2:] if size]
    return times(UP / math.sqrt(math.prod(known)) if known else 1.0, source.lipschitz)


def globally_largest(operation: Operation) -> float:
    """GlobalMaxPool: 1."""
    return operation.input(0).lipschitz


def globally_lp(operation: Operation) -> float:
    """GlobalLpPool: 1 for p >= 2, sqrt(n) for p = 1."""
    return times(root(_entries(operation)) if _p(operation) == 1 else 1.0, operation.input(0).lipschitz)


def unpooled(operation: Operation) -> float:
    """MaxUnpool: none."""
    raise UnboundedError(f"where it puts {operation.input(0).name!r} jumps with the network's input")


def regions(operation: Operation) -> float:
    """MaxRoiPool, RoiAlign: none."""
    raise UnboundedError(f"convsv knows no bound for the regions of {operation.node.op}")


def _p(operation: Operation) -> float:
    p = float(operation.attribute("p", 2))
    if p != 1 and p < 2:
        raise UnboundedError(f"its p = {p:g} is neither 1 nor at least 2")
    return p


def _entries(operation: Operation) -> int:
    """Of a channel."""
    return math.prod(operation.input(0).sizes()[2:])


def _max_range(operation: Operation) -> Range:
    """The same, unless a window may lie in the padding, which is minus infinity."""
    safe = all(windows.never_empty for windows in pooling_windows(operation))
    return operation.input(0).range if safe else ANYTHING


def _average_range(operation: Operation) -> Range:
    """The same where padding does not count, else also zero."""
    included = bool(operation.attribute("count_include_pad", 0))
    safe = all(windows.never_empty for windows in pooling_windows(operation)) and not included
    return same(operation) if safe else same_or_zero(operation)


def _lp_range(operation: Operation) -> Range:
    return _p_norm(operation, math.prod(windows.kernel for windows in pooling_windows(operation)))


def _global_lp_range(operation: Operation) -> Range:
    return _p_norm(operation, _entries(operation))


def _p_norm(operation: Operation, count: int) -> Range:
    """Of `count` entries."""
    return outward(0.0, count ** (1 / _p(operation)) * operation.input(0).range.magnitude)


RULES = {
    "MaxPool": Rule(lipschitz=max_pooled, range=_max_range),
    "AveragePool": Rule(lipschitz=averaged, range=_average_range),
    "LpPool": Rule(lipschitz=lp_pooled, range=_lp_range),
    "GlobalAveragePool": Rule(lipschitz=globally_averaged, range=same),
    "GlobalMaxPool": Rule(lipschitz=globally_largest, range=same),
    "GlobalLpPool": Rule(lipschitz=globally_lp, range=_global_lp_range),
    "MaxUnpool": Rule(lipschitz=unpooled, range=same_or_zero),
    "MaxRoiPool": Rule(lipschitz=regions),
    "RoiAlign": Rule(lipschitz=regions),
}
