"""Resize and Upsample where they repeat entries."""

from __future__ import annotations

import math

import numpy as np
import torch

from convsv_cli.lipschitz.axis_matrices import AxisMatrix
from convsv_cli.lipschitz.density.lowering.context import Lowering
from convsv_cli.lipschitz.density.lowering.views import NoRowError, View
from convsv_cli.lipschitz.density.steps import Convolution, Field
from convsv_cli.lipschitz.rules.resizing import matrices, stretches
from convsv_cli.model.graph import Node


def repeated(node: Node, to: Lowering) -> None:
    """Nearest by whole factors: y(s p + t) = x(p) for 0 <= t < s, the adjoint of sums over patches.

    Each channel by itself; what is outside the window stays there. Other factors, and roundings by which
    entries are repeated unequally, are different at each position, and have no symbol.
    """
    view, output = to.view(node.inputs[0]), node.outputs[0]
    if not view.spatial or any(to.varies(name) for name in node.inputs[1:] if name):
        raise NoRowError
    copies, channels, *stride = _factors(node, to)
    if copies != 1 or channels != 1:
        raise NoRowError
    if set(stride) == {1}:
        to.views[output] = view
        return
    field = to.field_of(view)
    to.reads(field.channels * math.prod(stride), field.channels)
    part = Convolution(
        kernel=torch.ones(field.channels, 1, 1, *stride, dtype=torch.float64),
        offsets=tuple(tuple(range(s)) for s in stride),
        stride=tuple(stride),
        transposed=True,
    )
    window = tuple(s * n for s, n in zip(stride, field.window, strict=True))
    made, shown = Field(channels=field.channels, window=window), View(field=output, cropped=view.cropped)
    to.linear(output, [(view.field, part)], made, view=shown, stride=part.stride, upward=True)


def _factors(node: Node, to: Lowering) -> list[int]:
    """How often entries are repeated along each axis."""
    operation, rank = to.operation(node), len(to.shape(node.inputs[0]))
    factors = [1] * rank
    for axis, stretch in stretches(operation).items():
        for matrix in matrices(operation, stretch):
            factors[axis % rank] = _factor(matrix)
    return factors


def _factor(matrix: AxisMatrix) -> int:
    """How often each entry is repeated; where several matrices of an axis are repetitions, it is as often."""
    after, before = matrix.shape
    factor = after // before
    entries = np.full(after, -1, np.int64)
    entries[matrix.rows] = matrix.columns
    plain = len(matrix.rows) == after == factor * before and bool((matrix.weights == 1).all())
    if not plain or (entries != np.arange(after) // factor).any():
        raise NoRowError
    return factor


ROWS = dict.fromkeys(("Resize", "Upsample"), repeated)
