"""Operators with sliding windows: padding is done first, since torch's own is the same at both ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from convsv_cli.differentiable.operators import MOST, Operator, UndifferentiableError, Values
from convsv_cli.model.layer import CONV, TRANSPOSED

CONVOLUTIONS = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
ADJOINTS = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}
MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


def convolution(v: Values) -> Tensor:
    """Conv."""
    axes = v[0].ndim - 2
    stride, dilation = _per_axis(v, "strides", axes), _per_axis(v, "dilations", axes)
    padded = _padded(v, v[1].shape[2:], value=0.0)
    return CONVOLUTIONS[axes](
        padded, v[1], v.optional(2), stride=stride, dilation=dilation, groups=v.attribute("group", 1)
    )


def transposed_convolution(v: Values) -> Tensor:
    """ConvTranspose, with the same padding at both ends of each axis."""
    axes = v[0].ndim - 2
    pads = _pads(v, axes)
    if pads[:axes] != pads[axes:] or v.attribute("output_shape", ()):
        raise UndifferentiableError("ConvTranspose has unequal pads or an output_shape")
    return ADJOINTS[axes](
        v[0],
        v[1],
        v.optional(2),
        stride=_per_axis(v, "strides", axes),
        padding=pads[:axes],
        output_padding=v.attribute("output_padding", (0,) * axes),
        groups=v.attribute("group", 1),
        dilation=_per_axis(v, "dilations", axes),
    )


def max_pool(v: Values) -> Tensor:
    """MaxPool; its indices are not wanted."""
    axes, kernel = v[0].ndim - 2, v.attribute("kernel_shape", ())
    pooled = MAX_POOLS[axes](
        _padded(v, kernel, value=-math.inf),
        kernel,
        stride=_per_axis(v, "strides", axes),
        dilation=_per_axis(v, "dilations", axes),
        ceil_mode=bool(v.attribute("ceil_mode", 0)),
    )
    return pooled if isinstance(pooled, Tensor) else pooled[0]


def average_pool(v: Values) -> Tensor:
    """AveragePool: the sums over windows, by how many entries count in them."""
    axes, kernel = v[0].ndim - 2, v.attribute("kernel_shape", ())
    if set(_per_axis(v, "dilations", axes)) - {1}:
        raise UndifferentiableError("AveragePool is dilated")
    stride = _per_axis(v, "strides", axes)
    ceil = bool(v.attribute("ceil_mode", 0))
    mean = AVERAGE_POOLS[axes](_padded(v, kernel, value=0.0), kernel, stride=stride, ceil_mode=ceil)
    if v.attribute("count_include_pad", 0) or not any(_pads(v, axes)):
        return mean
    ones = torch.ones(v[0].shape, device=v[0].device)
    counted = replace(v, inputs=(ones,))
    return mean / AVERAGE_POOLS[axes](_padded(counted, kernel, value=0.0), kernel, stride=stride)


def _padded(v: Values, kernel: tuple[int, ...], *, value: float) -> Tensor:
    axes = len(kernel)
    pads = _pads(v, axes, kernel)
    if any(pads) and v.attribute("ceil_mode", 0):
        raise UndifferentiableError(f"{v.node.op} has pads and ceil_mode")
    ends = [end for axis in reversed(range(axes)) for end in (pads[axis], pads[axis + axes])]
    padded = [
        size + small + large
        for size, small, large in zip(v[0].shape[2:], pads[:axes], pads[axes:], strict=True)
    ]
    if math.prod([*v[0].shape[:2], *padded]) > MOST:
        raise UndifferentiableError(f"{v.node.op} pads to more than {MOST:,} entries")
    return functional.pad(v[0], ends, value=value) if any(ends) else v[0]


def _pads(v: Values, axes: int, kernel: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Before each axis, then after each."""
    mode = v.attribute("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        return v.attribute("pads", (0,) * 2 * axes) if mode == "NOTSET" else (0,) * 2 * axes
    if not kernel:
        raise UndifferentiableError(f"{v.node.op} pads {mode}")
    stride, dilation = _per_axis(v, "strides", axes), _per_axis(v, "dilations", axes)
    totals = [
        max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        for size, k, s, d in zip(v[0].shape[2:], kernel, stride, dilation, strict=True)
    ]
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return (*small, *large) if mode == "SAME_UPPER" else (*large, *small)


def _per_axis(v: Values, name: str, axes: int) -> tuple[int, ...]:
    return v.attribute(name, (1,) * axes)


OPERATORS: Mapping[str, Operator] = {
    "AveragePool": average_pool,
    CONV: convolution,
    TRANSPOSED: transposed_convolution,
    "MaxPool": max_pool,
}
"""By operator type."""
