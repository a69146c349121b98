"""Functions of one number: by the interval that their difference quotients lie in."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from convsv_cli.lipschitz.density.lowering.context import Lowering
from convsv_cli.lipschitz.density.lowering.views import NoRowError
from convsv_cli.lipschitz.density.steps import Scaling
from convsv_cli.lipschitz.scalar.expressions import Expression, X, number
from convsv_cli.lipschitz.scalar.operators import BUILDERS, expressed
from convsv_cli.lipschitz.scalar.tables import slopes_over
from convsv_cli.model.graph import Node

RELATIVE, ABSOLUTE = 2.0**-60, 2.0**-100
"""Slopes below that share of a layer's largest one, or below that, are not told apart from 0."""
MEET = frozenset(("Add", "Sub", "Mul", "Div", "PRelu"))  # `arithmetic` has more to say of them


def applied(node: Node, to: Lowering) -> None:
    """One function of each entry, by its slopes over what each channel is known to be in."""
    varying = [name for name in node.inputs if name and to.varies(name)]
    if len(varying) != 1:
        raise NoRowError
    operands = [_operand(name, to) if name else None for name in node.inputs]
    over = slopes_over(expressed(node, operands), to.range_of(varying[0]))
    if not (np.isfinite(over.lower).all() and np.isfinite(over.upper).all()):
        raise NoRowError
    with_slopes(node, to, varying[0], torch.from_numpy(over.lower), torch.from_numpy(over.upper))


def with_slopes(node: Node, to: Lowering, source: str, lower: torch.Tensor, upper: torch.Tensor) -> None:
    """A function whose difference quotients lie in [lower, upper], one number or one per channel."""
    view, output = to.view(source), node.outputs[0]
    if to.shape(source) != to.shape(output):
        raise NoRowError
    field = to.field_of(view)
    if bool((lower == upper).all()):
        to.linear(
            output,
            [(view.field, Scaling(factors=lower))],
            replace(field, reach=()),
            view=replace(view, field=output, cropped=view.cropped or not bool(lower.any())),
        )
        return
    lower, upper = _coarse(lower, upper)
    to.activation(output, view, lower.expand(field.channels).clone(), upper.expand(field.channels).clone())


def _coarse(lower: torch.Tensor, upper: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Slopes close to 0 moved outward, to 0 or beside it: squares of them would underflow."""
    near = max(RELATIVE * float(torch.maximum(lower.abs(), upper.abs()).max()), ABSOLUTE)
    least = torch.where(lower.abs() < near, torch.where(lower < 0, -near, 0.0), lower)
    largest = torch.where(upper.abs() < near, torch.where(upper > 0, near, 0.0), upper)
    return least, largest


def prelu(node: Node, to: Lowering) -> None:
    """PRelu: 1 above 0, and a slope below, one per channel; one of them where it is known which."""
    values = to.constant(node.inputs[1])
    if not to.varies(node.inputs[0]) or not values.size:
        raise NoRowError
    least, largest = to.per_channel(values, node.inputs[0])
    over = to.range_of(node.inputs[0])
    above, below = torch.from_numpy(over.lower >= 0), torch.from_numpy(over.upper <= 0)
    one = torch.ones_like(least)
    lower = torch.where(above, one, torch.where(below, least, least.clamp_max(1.0)))
    upper = torch.where(above, one, torch.where(below, largest, largest.clamp_min(1.0)))
    with_slopes(node, to, node.inputs[0], lower, upper)


def _operand(name: str, to: Lowering) -> Expression:
    if to.varies(name):
        return X
    values = to.constant(name)
    if values.size != 1 or not math.isfinite(float(values.reshape(-1)[0])):
        raise NoRowError
    return number(float(values.reshape(-1)[0]))


ROWS = {**{op: applied for op in BUILDERS if op not in MEET}, "PRelu": prelu}
