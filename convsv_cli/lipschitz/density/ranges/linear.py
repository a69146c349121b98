"""Conv, ConvTranspose, Gemm and MatMul by a constant."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from convsv_cli.lipschitz.density.ranges.entries import (
    Entries,
    aligned,
    along_channels,
    finite,
    hull_along,
    hull_with,
)
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.model.graph import Node
from convsv_cli.model.layer import CONV, TRANSPOSED
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.linear_maps import linear_maps
from convsv_cli.numerics.intervals import Array, Intervals, exactly, widened
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, margin, up

BLOCK = 2**22  # entries of a kernel that are looked at together


def convolved(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Conv, ConvTranspose: each output is a sum over the taps, any of which may lie in the padding."""
    found, x = _map(node, known), known.first(node)
    geometry, rank = found.geometry, x.lower.ndim
    x = hull_along(x, [axis for axis in range(rank) if axis != 1])
    if geometry.transposed or len(geometry.padding) != 2 * (rank - 2) or any(geometry.padding):
        x = hull_with(x, 0.0, 0.0)
    lower, upper = (np.broadcast_to(end.reshape(-1), (_channels(found),)) for end in finite(x))
    sums = _mapped(found, _by_output(found), Intervals(lower, upper))
    result = along_channels(sums, rank)
    return (result if found.bias is None else result + along_channels(_bias(found, known), rank),)


def multiplied(node: Node, known: Entries) -> tuple[Intervals, ...]:
    """Gemm and MatMul: along the last axis."""
    found = _map(node, known)
    if found.data != 0 or node.attribute("transA", 0) or len(found.constant.shape) != 2:
        raise UnboundedError("it maps another axis than the last one")
    x = known.of(node.inputs[0])
    lower, upper = finite(x)
    full = (*lower.shape[:-1], found.kernel_shape[1])
    ends = Intervals(np.broadcast_to(lower, full), np.broadcast_to(upper, full))
    sums = _mapped(found, found.kernel()[None, :, :, None], ends)
    if found.bias is None:
        return (sums,)
    return (sums + aligned(_bias(found, known), sums.lower.ndim),)


def _map(node: Node, known: Entries) -> LinearMap:
    found = list(linear_maps(node, known.graph))
    if len(found) != 1 or not isinstance(found[0], LinearMap):
        raise UnboundedError("it is no linear map by one constant")
    return found[0]


def _channels(found: LinearMap) -> int:
    """Of the input."""
    return (
        found.kernel_shape[0] if found.geometry.transposed else found.kernel_shape[1] * found.geometry.groups
    )


def _bias(found: LinearMap, known: Entries) -> Intervals:
    assert found.bias is not None  # noqa: S101 - that is asked for before
    name, factor = found.bias
    bias = known.of(name)
    return bias if factor == 1 else bias * exactly(factor, bias)


def _by_output(found: LinearMap) -> NDArray[np.generic]:
    """The kernel as [groups, c_out / groups, c_in / groups, taps]."""
    blocks = found.by_groups(found.kernel())
    return blocks.reshape(*blocks.shape[:3], -1)


def _mapped(found: LinearMap, kernel: NDArray[np.generic], x: Intervals) -> Intervals:
    """Of sums over channels and taps, where each entry of a channel is in the channel's interval.

    With the middle m and the radius r of these, the sums are within |K| r of K m. All roundings are below
    `margin` of |K| (|m| + r), which r takes in; a kernel that is off by E in the Frobenius norm adds E |x|.

    Args:
        found: what the kernel is of.
        kernel: [groups, c_out / groups, c_in / groups, taps].
        x: finite, [..., c_in].
    """
    groups, outputs, inputs, taps = kernel.shape
    middle = x.lower / 2 + x.upper / 2
    radius = np.maximum(x.upper - middle, middle - x.lower) * up(4)
    largest = np.abs(middle) + radius
    radius = radius + margin(inputs * taps + 8) * largest
    columns = np.stack((middle, radius)).reshape(2, *x.lower.shape[:-1], groups, inputs)
    parts = []
    step = max(1, BLOCK // max(1, groups * inputs * taps))
    for start in range(0, outputs, step):
        block = kernel[:, start : start + step].astype(np.float64)
        parts.append((_product(block.sum(-1), columns[0]), _product(np.abs(block).sum(-1), columns[1])))
    sums, radii = (
        np.concatenate(each, -1).reshape(*x.lower.shape[:-1], -1) for each in zip(*parts, strict=True)
    )
    error = found.constant.error() * abs(found.factor)
    if error:
        radii = radii + error * np.sqrt(taps * np.square(largest).sum(-1, keepdims=True)) * up(inputs + 16)
    radii = radii * up(inputs * taps + 16) + UNIT_ROUNDOFF * np.abs(sums) + math.ldexp(1.0, -1000)
    return widened(sums - radii, sums + radii, 8 * UNIT_ROUNDOFF, 0.0)


def _product(rows: Array, columns: Array) -> Array:
    """By groups: [groups, rows, inputs] times [..., groups, inputs]."""
    return np.asarray((rows @ columns[..., None])[..., 0])


ROWS = {CONV: convolved, TRANSPOSED: convolved, "Gemm": multiplied, "MatMul": multiplied}
