"""Means over windows and axes, and the largest of windows, in rounds of pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.rules.pooling import windows_of
from convsv_cli.local.lowering.arithmetic import larger
from convsv_cli.local.lowering.context import Lowering, Table, check_gaps
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
    index = _lines(node, to)
    divisor = float(len(index)) if node.op == "ReduceMean" else 1.0
    _mean(node, to, index, torch.tensor(divisor, dtype=torch.float64))


def extreme(node: Node, to: Lowering) -> None:
    """ReduceMax and ReduceMin."""
    _largest(node, to, _lines(node, to), 1.0 if node.op == "ReduceMax" else -1.0)


def _lines(node: Node, to: Lowering) -> Tensor:
    """The entries that are reduced to each one: int64 [entries, entries of the result]."""
    shape, axes = to.shape(node.inputs[0]), to.integers(node.input(1))
    if axes is None:
        axes = node.attribute("axes", ())
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return numbers(shape).flatten()[None] - 1
    over = sorted({axis % len(shape) for axis in axes} or set(range(len(shape))))
    kept = [axis for axis in range(len(shape)) if axis not in over]
    count = math.prod(shape[axis] for axis in over)
    return numbers(shape).permute(*over, *kept).reshape(count, -1) - 1


def max_pool(node: Node, to: Lowering) -> None:
    """MaxPool; what is beyond the image is any other entry of the same window, which changes no maximum."""
    if any(node.outputs[1:]):
        raise NoLocalCertificateError("its indices are used")
    windows = _windows(node, to)
    _largest(node, to, torch.where(windows >= 0, windows, windows.amax(0)))


def global_max_pool(node: Node, to: Lowering) -> None:
    """GlobalMaxPool."""
    _largest(node, to, numbers(to.shape(node.inputs[0])).flatten(2).movedim(-1, 0).flatten(1) - 1)


def _largest(node: Node, to: Lowering, windows: Tensor, sign: float = 1.0) -> None:
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
        name = larger(node, to, first, second, sign)
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
    try:
        found = windows_of(to.operation(node))
    except UnboundedError as error:
        raise NoLocalCertificateError(str(error)) from error
    index = torch.arange(math.prod(shape[:2])).reshape(shape[:2])
    for size, result, axis in zip(shape[2:], given[2:], found, strict=True):
        if axis.pads is None:
            raise NoLocalCertificateError("runtimes do not agree on its padding")
        reach = axis.dilation * (axis.kernel - 1) + 1
        check_gaps(node, size, result, axis.stride, reach)
        if size + sum(axis.pads) < reach:
            raise NoLocalCertificateError(LARGE)
        starts = torch.arange(result) * axis.stride - axis.pads[0]
        places = torch.arange(axis.kernel)[:, None] * axis.dilation + starts
        inside = (places >= 0) & (places < size)
        wider = index[..., None, None] * size + places
        index = torch.where((index[..., None, None] >= 0) & inside, wider, -1)
    order = [*range(2, index.ndim, 2), 0, 1, *range(3, index.ndim, 2)]
    return index.permute(order).reshape(math.prod(axis.kernel for axis in found), -1)


ROWS: Table = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
    "ReduceMax": extreme,
    "ReduceMean": reduced,
    "ReduceMin": extreme,
    "ReduceSum": reduced,
}
