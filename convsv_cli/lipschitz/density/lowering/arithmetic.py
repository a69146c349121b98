"""Sums of fields, and what constants do to one: shifts, factors, BatchNorm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from convsv_cli.lipschitz.density.lowering.context import Lowering
from convsv_cli.lipschitz.density.lowering.elementwise import with_slopes
from convsv_cli.lipschitz.density.lowering.views import NoRowError
from convsv_cli.lipschitz.density.steps import Scaling
from convsv_cli.lipschitz.fold.diagonal import EPSILON
from convsv_cli.model.graph import Node

ONE = torch.ones(1, dtype=torch.float64)


def summed(node: Node, to: Lowering) -> None:
    """Add, Sub, Sum, Mean: constants shift only."""
    signs = (1.0, -1.0) if node.op == "Sub" else (1.0,) * len(node.inputs)
    share = 1 / len(node.inputs) if node.op == "Mean" else 1.0
    terms = [(name, sign * share) for name, sign in zip(node.inputs, signs, strict=True) if to.varies(name)]
    output = node.outputs[0]
    if not terms or any(to.shape(name) != to.shape(output) for name, _ in terms):
        raise NoRowError
    if to.shape(output).count(None) > (len(to.sources) == 1):  # sizes of which one may be 1, and repeated
        raise NoRowError
    views = [to.view(name) for name, _ in terms]
    if len(terms) == 1 and terms[0][1] == 1:
        to.views[output] = views[0]
        return
    fields = [to.field_of(view) for view in views]
    if len({(f.channels, f.window, v.last, v.flat) for f, v in zip(fields, views, strict=True)}) > 1:
        raise NoRowError
    weights: dict[str, float] = {}
    for view, (_, factor) in zip(views, terms, strict=True):
        weights[view.field] = weights.get(view.field, 0.0) + factor
    parts = [(name, Scaling(factors=ONE * factor)) for name, factor in weights.items()]
    shown = replace(views[0], field=output, cropped=all(view.cropped for view in views))
    to.linear(output, parts, replace(fields[0], reach=()), view=shown)


def multiplied(node: Node, to: Lowering) -> None:
    """Mul and Div by a constant."""
    varying = [index for index, name in enumerate(node.inputs) if to.varies(name)]
    if len(varying) != 1 or (node.op == "Div" and varying != [0]):
        raise NoRowError
    source = node.inputs[varying[0]]
    values = to.constant(node.inputs[1 - varying[0]])
    if not values.size or (node.op == "Div" and not values.all()):
        raise NoRowError
    least, largest = to.per_channel(values, source)
    if node.op == "Div":
        with np.errstate(all="ignore"):
            inverse = 1 / values
        least, largest = to.per_channel(inverse, source)
        least, largest = outward(least, largest)
    with_slopes(node, to, source, least, largest)


def normalised(node: Node, to: Lowering) -> None:
    """BatchNormalization, as in inference: a factor per channel."""
    scale, _, _, variance = (to.constant(name) for name in node.inputs[1:5])
    view = to.view(node.inputs[0])
    if any(node.outputs[1:]) or node.attribute("training_mode", 0) or view.flat:
        raise NoRowError
    if view.last and len(to.shape(node.inputs[0])) != 2:  # its channels are on axis 1
        raise NoRowError
    with np.errstate(all="ignore"):
        factors = torch.from_numpy(scale / np.sqrt(variance + node.attribute("epsilon", EPSILON)))
    if not bool(factors.isfinite().all()) or len(factors) != to.field_of(view).channels:
        raise NoRowError
    with_slopes(node, to, node.inputs[0], *outward(factors, factors))


def outward(lower: torch.Tensor, upper: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ends, moved apart by more than what a few roundings do to them."""
    width = 2.0**-48
    return lower - width * lower.abs(), upper + width * upper.abs()


def unchanged(node: Node, to: Lowering) -> None:
    """Identity."""
    to.views[node.outputs[0]] = to.view(node.inputs[0])


ROWS = {
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean"), summed),
    **dict.fromkeys(("Mul", "Div"), multiplied),
    "BatchNormalization": normalised,
    "Identity": unchanged,
}
