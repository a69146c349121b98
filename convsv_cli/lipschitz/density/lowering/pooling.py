"""Averages and maxima over windows, or over all positions."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from convsv_cli.lipschitz.density.lowering.context import Lowering
from convsv_cli.lipschitz.density.lowering.views import NoRowError, View, known
from convsv_cli.lipschitz.density.steps import Convolution, Field, Functional
from convsv_cli.lipschitz.operands import optional_integers
from convsv_cli.lipschitz.rules.pooling import windows_of
from convsv_cli.model.graph import Node
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF


def averaged(node: Node, to: Lowering) -> None:
    """AveragePool whose windows all have as many entries: a convolution per channel."""
    view, windows = _spatial(node, to), windows_of(to.operation(node))
    field, output = to.field_of(view), node.outputs[0]
    window = known(to.shape(output)[2:])
    for axis, before, after in zip(windows, field.window, window, strict=True):
        last = axis.stride * (after - 1) + axis.dilation * (axis.kernel - 1)
        if axis.pads is None or any(axis.pads) or last >= before:
            raise NoRowError
    taps = tuple(axis.kernel for axis in windows)
    to.reads(field.channels * math.prod(taps), field.channels)
    kernel = torch.full((field.channels, 1, 1, *taps), 1 / math.prod(taps), dtype=torch.float64)
    part = Convolution(
        kernel=kernel,
        offsets=tuple(tuple(axis.dilation * tap for tap in range(axis.kernel)) for axis in windows),
        stride=tuple(axis.stride for axis in windows),
        error=UNIT_ROUNDOFF * math.sqrt(field.channels),
    )
    shown = View(field=output, cropped=False)
    made = Field(channels=field.channels, window=window)
    to.linear(output, [(view.field, part)], made, view=shown, stride=part.stride)


def largest(node: Node, to: Lowering) -> None:
    """MaxPool: a maximum moves by no more than one of its entries, and each is in at most kappa windows."""
    if any(node.outputs[1:]):
        raise NoRowError
    view = _spatial(node, to)
    kappa = float(math.prod(axis.overlap() for axis in windows_of(to.operation(node))))
    window = known(to.shape(node.outputs[0])[2:])
    kappas = torch.tensor([kappa], dtype=torch.float64)
    to.gain(node.outputs[0], view, kappas, Field(channels=to.field_of(view).channels, window=window))


def mean_of_all(node: Node, to: Lowering) -> None:
    """GlobalAveragePool."""
    _over_all(node, to, mean=True, keep=True)


def largest_of_all(node: Node, to: Lowering) -> None:
    """GlobalMaxPool: kappa is 1."""
    view = _spatial(node, to)
    field = to.field_of(view)
    made = replace(field, window=(1,) * len(field.window), reach=())
    to.gain(node.outputs[0], view, torch.ones(1, dtype=torch.float64), made)


def reduced(node: Node, to: Lowering) -> None:
    """ReduceMean and ReduceSum over all positions."""
    view, rank = _spatial(node, to), len(to.shape(node.inputs[0]))
    axes = optional_integers(to.operation(node), 1)
    axes = node.attribute("axes", ()) if axes is None else axes
    if not axes or sorted(axis % rank for axis in axes) != list(range(2, rank)) or view.last:
        raise NoRowError
    _over_all(node, to, mean=node.op == "ReduceMean", keep=bool(node.attribute("keepdims", 1)))


def _over_all(node: Node, to: Lowering, *, mean: bool, keep: bool) -> None:
    view = _spatial(node, to)
    field, output = to.field_of(view), node.outputs[0]
    positions = math.prod(field.window)
    value = 1 / positions if mean else 1.0
    to.reads(field.channels * positions, field.channels)
    kernel = torch.full((field.channels, 1, *field.window), value, dtype=torch.float64)
    error = UNIT_ROUNDOFF * math.sqrt(field.channels) if mean else 0.0
    step = Functional(source=view.field, output=output, kernel=kernel, diagonal=True, error=error)
    window = (1,) * len(field.window) if keep else ()
    to.functional(output, step, Field(channels=field.channels, window=window), View(field=output))


def _spatial(node: Node, to: Lowering) -> View:
    view = to.view(node.inputs[0])
    if not view.spatial:
        raise NoRowError
    return view


ROWS = {
    "AveragePool": averaged,
    "MaxPool": largest,
    "GlobalAveragePool": mean_of_all,
    "GlobalMaxPool": largest_of_all,
    "ReduceMean": reduced,
    "ReduceSum": reduced,
}
