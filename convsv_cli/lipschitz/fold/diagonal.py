"""Nodes that scale and shift each channel by a constant: BatchNormalization, Mul, Div, Add, Sub."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.fold.affine import Channels
from convsv_cli.lipschitz.fold.rewrite import Rewrite
from convsv_cli.model.graph import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

EPSILON = float(np.float32(1e-5))  # the default; attributes are of single precision
BATCH_NORM = "BatchNorm"
SCALING = "scaling"


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagonal:
    """`x -> scale x + shift`, finite, both [channels]; None where it does not scale, or shift.

    Attributes:
        source: the tensor x.
        kinds: what it is, for the report.
    """

    source: str
    scale: Array | None = None
    shift: Array | None = None
    kinds: tuple[str, ...] = ()

    def after(self, first: Diagonal) -> Diagonal:
        """This one of the first one."""
        scale, shift = first.scale, first.shift
        if self.scale is not None:
            scale = self.scale if scale is None else scale * self.scale
            shift = None if shift is None else shift * self.scale
        if self.shift is not None:
            shift = self.shift if shift is None else shift + self.shift
        kinds = (*first.kinds, *self.kinds)
        return Diagonal(source=first.source, scale=scale, shift=shift, kinds=kinds)


def diagonal(node: Node, rewrite: Rewrite, channels: Channels, *, certain: bool) -> Diagonal | None:
    """What a node does to channels that lie there; None where it does something else.

    Args:
        node: any.
        rewrite: the graph that it is in.
        channels: of what the node is applied to.
        certain: whether that has so many channels. Else it may have one, that a constant repeats.
    """
    if node.op == "BatchNormalization":
        return _batch_norm(node, rewrite, channels)
    if node.op not in ("Mul", "Div", "Add", "Sub") or len(node.inputs) != 2 or len(node.outputs) != 1:
        return None
    left, right = node.inputs
    if rewrite.is_constant(left) == rewrite.is_constant(right):
        return None
    source, constant = (left, right) if rewrite.is_constant(right) else (right, left)
    if not certain:
        certain = _has_channels(rewrite.shape(source), channels)
    values = _by_channel(constant, rewrite, channels, certain=certain)
    return None if values is None else _arithmetic(node.op, source, values, flipped=source == right)


def _arithmetic(op: str, source: str, values: Array, *, flipped: bool) -> Diagonal | None:
    """An operator with a constant operand, which is the first one where it is flipped."""
    if op == "Add":
        return Diagonal(source=source, shift=values)
    if op == "Sub" and not flipped:
        return Diagonal(source=source, shift=-values)
    if op == "Sub":
        return Diagonal(source=source, scale=np.full_like(values, -1.0), shift=values, kinds=(SCALING,))
    if op == "Mul":
        return Diagonal(source=source, scale=values, kinds=(SCALING,))
    return None if flipped else _scaled(source, 1.0, values)


def _scaled(source: str, numerator: float, denominator: Array) -> Diagonal | None:
    with np.errstate(all="ignore"):
        scale = numerator / denominator
    return Diagonal(source=source, scale=scale, kinds=(SCALING,)) if np.isfinite(scale).all() else None


def _batch_norm(node: Node, rewrite: Rewrite, channels: Channels) -> Diagonal | None:
    """As in inference: (x - mean) / sqrt(var + epsilon) * gamma + beta, for channels on axis 1."""
    if channels.rank is None or channels.rank + channels.axis != 1 or len(node.inputs) != 5:
        return None
    if any(node.outputs[1:]) or node.attribute("training_mode", 0):
        return None
    parameters = [rewrite.values(name) for name in node.inputs[1:]]
    if rewrite.is_constant(node.inputs[0]):
        return None
    found = [values for values in parameters if values is not None and values.shape == (channels.count,)]
    if len(found) != 4:
        return None
    gamma, beta, mean, var = found
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(var + node.attribute("epsilon", EPSILON))
        shift = beta - mean * scale
    if not all(np.isfinite(values).all() for values in (scale, shift)):
        return None
    return Diagonal(source=node.inputs[0], scale=scale, shift=shift, kinds=(BATCH_NORM,))


def _by_channel(name: str, rewrite: Rewrite, channels: Channels, *, certain: bool) -> Array | None:
    """A constant as [channels], where it is the same at all other positions and adds no axis."""
    weight = rewrite.weight(name)
    rank = channels.rank if certain else None
    if weight is None or len(weight.shape) > (1 if rank is None else rank):
        return None
    along = weight.shape[channels.axis] if len(weight.shape) >= -channels.axis else 1
    if math.prod(weight.shape) != along or along not in (1, channels.count) or (along > 1 and not certain):
        return None
    values = rewrite.values(name)
    return None if values is None else np.broadcast_to(values.ravel(), (channels.count,)).copy()


def _has_channels(shape: Iterable[int | None] | None, channels: Channels) -> bool:
    sizes = None if shape is None else tuple(shape)
    return sizes is not None and len(sizes) == channels.rank and sizes[channels.axis] == channels.count
