"""Means over windows and axes, and the largest of windows, in rounds of pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from convsv_cli.local.lowering.arithmetic import larger
from convsv_cli.local.lowering.context import Lowering, Table
from convsv_cli.local.lowering.movement import numbers
from convsv_cli.local.runtimes import scaled
from convsv_cli.local.steps import NoLocalCertificateError
from convsv_cli.model.graph import Node

EMPTY = "one of its windows is empty"
LARGE = "its window is larger than what it slides over: runtimes disagree on its output"


def average_pool(node: Node, to: Lowering) -> None:
    """AveragePool: sums over windows, by how many entries count in them."""
    windows = _windows(node, to)
    if bool((windows < 0).all(0).any()):
        raise NoLocalCertificateError(EMPTY)
    if node.attribute("count_include_pad", 0):
        if node.attribute("ceil_mode", 0):
            raise NoLocalCertificateError("what counts in its last windows is not defined")
        counts = torch.tensor(float(math.prod(node.attribute("kernel_shape", ()))), dtype=torch.float64)
    else:
        counts = (windows >= 0).sum(0).double().reshape(to.shape(node.outputs[0]))
    _mean(node, to, windows, counts)


def global_average_pool(node: Node, to: Lowering) -> None:
    """GlobalAveragePool."""
    shape = to.shape(node.inputs[0])
    index = numbers(shape).flatten(2).movedim(-1, 0).flatten(1) - 1
    _mean(node, to, index, torch.tensor(float(math.prod(shape[2:])), dtype=torch.float64))


def reduced(node: Node, to: Lowering) -> None:
    """ReduceMean and ReduceSum."""
    shape, axes = to.shape(node.inputs[0]), to.integers(node.input(1))
    if axes is None:
        axes = node.attribute("axes", ())
    if not axes and node.attribute("noop_with_empty_axes", 0):
        to.affine(node, [to.copy(node.inputs[0])], output=node.outputs[0])
        return
    over = sorted({axis % len(shape) for axis in axes} or set(range(len(shape))))
    kept = [axis for axis in range(len(shape)) if axis not in over]
    count = math.prod(shape[axis] for axis in over)
    index = numbers(shape).permute(*over, *kept).reshape(count, -1) - 1
    divisor = float(count) if node.op == "ReduceMean" else 1.0
    _mean(node, to, index, torch.tensor(divisor, dtype=torch.float64))


def max_pool(node: Node, to: Lowering) -> None:
    """MaxPool; what is beyond the image is any other entry of the same window, which changes no maximum."""
    if any(node.outputs[1:]):
        raise NoLocalCertificateError("its indices are used")
    windows = _windows(node, to)
    _largest(node, to, torch.where(windows >= 0, windows, windows.amax(0)))


def global_max_pool(node: Node, to: Lowering) -> None:
    """GlobalMaxPool."""
    _largest(node, to, numbers(to.shape(node.inputs[0])).flatten(2).movedim(-1, 0).flatten(1) - 1)


def _largest(node: Node, to: Lowering, windows: Tensor) -> None:
    """Half of each window against the other half, then the winners against each other."""
    if int(windows.min()) < 0:
        raise NoLocalCertificateError(EMPTY)
    name = node.inputs[0]
    given = to.shape(node.outputs[0])
    while (terms := len(windows)) > 1:
        half = (terms + 1) // 2
        shape = (half, *given)
        first = to.select(node, name, windows[:half].flatten()[None], shape)
        second = to.select(node, name, windows[terms - half :].flatten()[None], shape)
        name = larger(node, to, first, second)
        windows = torch.arange(math.prod(shape)).reshape(half, -1)
    to.select(node, name, windows, given, output=node.outputs[0])


def _mean(node: Node, to: Lowering, index: Tensor, counts: Tensor) -> None:
    output = node.outputs[0]
    if math.prod(to.shape(output)) != index.shape[1]:
        raise NoLocalCertificateError("its result has another shape than the graph says")
    sums = to.select(node, node.inputs[0], index, to.shape(output))
    part = to.scaling(sums, 1 / counts, roundings=2)
    off = None if bool((counts == 1).all()) else scaled(1 / counts, counts)
    to.affine(node, [part], off=off, output=output)


def _windows(node: Node, to: Lowering) -> Tensor:
    """The entries in each window: int64 [entries of a window, entries of the result], -1 beyond the image."""
    shape, given = to.shape(node.inputs[0]), to.shape(node.outputs[0])
    axes = len(shape) - 2
    kernel, ones = node.attribute("kernel_shape", ()), (1,) * axes
    strides, dilations = node.attribute("strides", ones), node.attribute("dilations", ones)
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", ""):
        raise NoLocalCertificateError("its padding depends on the size of its input")
    pads = node.attribute("pads", (0,) * 2 * axes)
    for size, k, d, before, after in zip(shape[2:], kernel, dilations, pads[:axes], pads[axes:], strict=True):
        if size + before + after < d * (k - 1) + 1:
            raise NoLocalCertificateError(LARGE)
    index = torch.arange(math.prod(shape[:2])).reshape(shape[:2])
    for size, result, k, s, d, before in zip(
        shape[2:], given[2:], kernel, strides, dilations, pads[:axes], strict=True
    ):
        places = torch.arange(k)[:, None] * d + torch.arange(result) * s - before
        inside = (places >= 0) & (places < size)
        wider = index[..., None, None] * size + places
        index = torch.where((index[..., None, None] >= 0) & inside, wider, -1)
    order = [*range(2, 2 + 2 * axes, 2), 0, 1, *range(3, 3 + 2 * axes, 2)]
    return index.permute(order).reshape(math.prod(kernel), -1)


ROWS: Table = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
    "ReduceMean": reduced,
    "ReduceSum": reduced,
}
