"""Conv, ConvTranspose, Gemm and MatMul by a constant."""

from __future__ import annotations

import math

import numpy as np
import torch

from convsv_cli.lipschitz.density.lowering.context import Lowering
from convsv_cli.lipschitz.density.lowering.views import NoRowError, View, known
from convsv_cli.lipschitz.density.steps import Convolution, Field, Functional
from convsv_cli.model.graph import Node, UnknownValueError
from convsv_cli.model.layer import CONV, TRANSPOSED, Geometry
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.linear_maps import linear_maps
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, up


def convolved(node: Node, to: Lowering) -> None:
    """Conv: on a torus that holds the window and its padding, where what sticks out is cut off later.

    A torus of n + p positions, with p at least the padding before the window and what is read beyond its end,
    has zeros wherever padding is read.
    """
    found, view = _spatial_map(node, to)
    geometry, field = found.geometry, to.field_of(view)
    kernel, error = _kernel(found, to)
    if kernel.shape[0] * kernel.shape[2] != field.channels:
        raise NoRowError
    window = known(to.shape(node.outputs[0])[2:])
    offsets = _offsets(geometry, kernel)
    reach = tuple(
        n + max(-along[0], stride * (outputs - 1) + along[-1] - (n - 1), 0)
        for n, outputs, along, stride in zip(field.window, window, offsets, geometry.stride, strict=True)
    )
    source = to.cropped(view) if reach != field.window else view
    to.reaches(source.field, reach)
    pointwise = all(along == (0,) for along in offsets)
    to.linear(
        node.outputs[0],
        [(source.field, Convolution(kernel=kernel, offsets=offsets, stride=geometry.stride, error=error))],
        Field(channels=kernel.shape[0] * kernel.shape[1], window=window),
        view=View(field=node.outputs[0], cropped=pointwise and source.cropped),
        stride=geometry.stride,
    )


def transposed(node: Node, to: Lowering) -> None:
    """ConvTranspose: the adjoint, on a torus that all of its output fits into before that is cut."""
    found, view = _spatial_map(node, to)
    geometry, field = found.geometry, to.field_of(view)
    if geometry.either_way:
        raise NoRowError
    kernel, error = _kernel(found, to)
    if kernel.shape[0] * kernel.shape[2] != field.channels:
        raise NoRowError
    window = known(to.shape(node.outputs[0])[2:])
    offsets = _offsets(geometry, kernel)
    reach = tuple(
        max(outputs - along[0], stride * (n - 1) + along[-1] + 1, outputs)
        for n, outputs, along, stride in zip(field.window, window, offsets, geometry.stride, strict=True)
    )
    upward = any(s > 1 for s in geometry.stride)
    if not upward:  # a convolution by the kernel turned round
        offsets = tuple(tuple(-offset for offset in reversed(along)) for along in offsets)
        kernel = kernel.flip(tuple(range(3, kernel.ndim)))
    part = Convolution(kernel=kernel, offsets=offsets, stride=geometry.stride, transposed=upward, error=error)
    to.linear(
        node.outputs[0],
        [(to.cropped(view).field, part)],
        Field(channels=kernel.shape[0] * kernel.shape[1], window=window, reach=reach),
        view=View(field=node.outputs[0], cropped=False),
        stride=geometry.stride,
        upward=True,
    )


def multiplied(node: Node, to: Lowering) -> None:
    """Gemm and MatMul: of channels, or of channels and positions together."""
    found = _map(node, to)
    if found.data != 0 or node.attribute("transA", 0) or len(found.constant.shape) != 2:
        raise NoRowError
    view = to.view(node.inputs[0])
    field, output = to.field_of(view), node.outputs[0]
    kernel, error = _kernel(found, to)
    rows, columns = kernel.shape[1:3]
    if view.flat:
        if columns != field.channels * math.prod(field.window):
            raise NoRowError
        weight = kernel[0].reshape(rows, field.channels, *field.window)
        step = Functional(source=view.field, output=output, kernel=weight, error=error)
        to.functional(output, step, Field(channels=rows), View(field=output))
        return
    if columns != field.channels or not (view.last or len(to.shape(node.inputs[0])) == 2):
        raise NoRowError
    axes = len(field.window)
    weight = kernel.reshape(1, rows, columns, *(1,) * axes)
    part = Convolution(kernel=weight, offsets=((0,),) * axes, stride=(1,) * axes, error=error)
    shown = View(field=output, last=view.last, cropped=view.cropped)
    to.linear(output, [(view.field, part)], Field(channels=rows, window=field.window), view=shown)


def _map(node: Node, to: Lowering) -> LinearMap:
    found = list(linear_maps(node, to.graph))
    if len(found) != 1 or not isinstance(found[0], LinearMap) or not to.varies(node.inputs[0]):
        raise NoRowError
    if any(to.varies(name) for name in node.inputs[1:]):  # a bias may be computed from the input
        raise NoRowError
    return found[0]


def _spatial_map(node: Node, to: Lowering) -> tuple[LinearMap, View]:
    """A convolution, or its adjoint, whose padding is known, and what it is of."""
    found, view = _map(node, to), to.view(node.inputs[0])
    axes = len(found.geometry.stride)
    if not view.spatial or len(to.field_of(view).window) != axes or len(found.geometry.padding) != 2 * axes:
        raise NoRowError
    return found, view


def _offsets(geometry: Geometry, kernel: torch.Tensor) -> tuple[tuple[int, ...], ...]:
    """Of the taps of a kernel, [groups, c_out / groups, c_in / groups, *taps], along each axis."""
    before = geometry.padding[: len(geometry.padding) // 2]
    return tuple(
        tuple(dilation * tap - pad for tap in range(taps))
        for dilation, pad, taps in zip(geometry.dilation, before, kernel.shape[3:], strict=True)
    )


def _kernel(found: LinearMap, to: Lowering) -> tuple[torch.Tensor, float]:
    """The kernel as [groups, c_out / groups, c_in / groups, *taps], and what rounding did to it."""
    shape, geometry = found.kernel_shape, found.geometry
    to.reads(math.prod(shape), shape[1] * geometry.groups if geometry.transposed else shape[0])
    if not to.reading and 0 not in shape and shape[0] % geometry.groups == 0:
        blocks = found.by_groups(np.broadcast_to(0.0, shape)).shape
        return torch.empty(blocks, dtype=torch.float64, device="meta"), 0.0
    try:
        values = np.asarray(found.arrange(found.constant.read()), np.float64)
        error = found.constant.error()
    except UnknownValueError as unknown:
        raise NoRowError from unknown
    if not values.size or len(values) % found.geometry.groups:
        raise NoRowError
    if not np.isfinite(values).all() or not np.isfinite(error):
        raise NoRowError
    kernel = torch.from_numpy(np.require(found.by_groups(values), requirements=("C", "W")))
    if found.factor == 1:
        return kernel, error
    kernel = kernel * found.factor
    return kernel, (abs(found.factor) * error + UNIT_ROUNDOFF * float(kernel.norm())) * up(values.size)


ROWS = {CONV: convolved, TRANSPOSED: transposed, "Gemm": multiplied, "MatMul": multiplied}
