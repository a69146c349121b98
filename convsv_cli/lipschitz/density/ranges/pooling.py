"""Averages, sums and largest entries over windows, or along axes."""

from __future__ import annotations

import math

from convsv_cli.lipschitz.density.ranges.entries import Entries, hull_along, hull_with
from convsv_cli.lipschitz.operands import optional_integers
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.rules.pooling import windows_of
from convsv_cli.model.graph import Node
from convsv_cli.numerics.intervals import Intervals, exactly


def over_windows(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """MaxPool, AveragePool: between entries of the channel, or zeros of the padding where these count."""
    x = known.first(node)
    found = hull_along(x, list(range(2, x.lower.ndim)))
    filled = all(windows.never_empty for windows in windows_of(known.operation(node)))
    if node.op == "MaxPool" and not filled:
        raise UnboundedError("windows without entries")
    if filled and not node.attribute("count_include_pad", 0):
        return (found,)
    return (hull_with(found, 0.0, 0.0),)


def over_all(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """GlobalAveragePool, GlobalMaxPool: between entries of the channel."""
    x = known.first(node)
    return (hull_along(x, list(range(2, x.lower.ndim))),)


def reduced(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """ReduceMean, ReduceMax, ReduceMin: between entries along axes; ReduceSum: their number times that."""
    x, shape = known.first(node), known.shape(node.inputs[0])
    axes = optional_integers(known.operation(node), 1)
    axes = node.attribute("axes", ()) if axes is None else axes
    along = sorted(axis % len(shape) for axis in axes)
    if not along:
        raise UnboundedError("all axes, or none")
    found = hull_along(x, along)
    if node.op == "ReduceSum":
        count = math.prod(known.whole(node.inputs[0], tuple(along)).lower.shape[axis] for axis in along)
        found = found * exactly(float(count), found)
    if node.attribute("keepdims", 1):
        return (found,)
    return (Intervals(found.lower.squeeze(tuple(along)), found.upper.squeeze(tuple(along))),)


ROWS = {
    **dict.fromkeys(("MaxPool", "AveragePool"), over_windows),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), over_all),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"), reduced),
}
