"""Scalings before a linear map become its own, and shifts where no zero padding is between them.

W (s x + t) = (W s) x + W t. Zeros of the padding are scaled to zeros, but are not shifted: with padding
s x + t = s (x + t / s), of which only the scaling commutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.fold.biases import response, together
from convsv_cli.lipschitz.fold.diagonal import Diagonal, diagonal
from convsv_cli.lipschitz.fold.maps import MATRICES, LinearMap, map_at
from convsv_cli.lipschitz.fold.sweep import Draft, Merged
from convsv_cli.lipschitz.fold.weight import fixed
from convsv_cli.lipschitz.fold.writing import constant, written
from convsv_cli.model.graph import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_SHIFT = 2.0**20
"""A shift that grows beyond this when the scaling is taken off it stays as it is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """Consecutive scalings and shifts, as one."""

    nodes: tuple[Node, ...]
    whole: Diagonal


def merge(node: Node, draft: Draft) -> Merged | None:
    """All scalings and shifts of the input channels right before a map, as far as they commute with it."""
    linear = map_at(node, draft)
    if linear is None:
        return None
    run = _run_before(linear, draft)
    if run is None:
        return None
    if linear.node.op in MATRICES or (linear.node.op == "Conv" and linear.unpadded):
        return _absorbed(linear, run, draft)
    return _scaled(linear, run, draft)


def _run_before(linear: LinearMap, draft: Draft) -> _Run | None:
    run: _Run | None = None
    name = linear.source
    while (maker := draft.private_maker(name)) is not None:
        found = diagonal(maker, draft, linear.inputs, certain=False)
        if found is None:
            break
        whole = found if run is None else run.whole.after(found)
        if not _commutes(whole, linear):
            break
        run = _Run(nodes=(maker, *(run.nodes if run else ())), whole=whole)
        name = found.source
    return run


def _commutes(whole: Diagonal, linear: LinearMap) -> bool:
    """Whether the shift, with the scaling taken off it, is one: no channel is scaled to (nearly) nothing."""
    if linear.node.op in MATRICES or (linear.node.op == "Conv" and linear.unpadded):
        return True
    return bool((np.abs(_before_scaling(whole)) <= LARGEST_SHIFT).all())


def _before_scaling(whole: Diagonal) -> NDArray[np.float64]:
    if whole.shift is None or whole.scale is None:
        return np.zeros(1) if whole.shift is None else whole.shift
    with np.errstate(all="ignore"):
        return np.where(whole.shift == 0, 0.0, whole.shift / whole.scale)


def _absorbed(linear: LinearMap, run: _Run, draft: Draft) -> Merged:
    whole = run.whole
    bias, shift = linear.bias, whole.shift
    if shift is not None:
        bias = together(response(linear.weight, fixed(shift)), bias)
    weight = None if whole.scale is None else linear.weight_by_input(whole.scale)
    nodes = written(
        linear, draft, source=whole.source, output=linear.node.outputs[0], weight=weight, bias=bias
    )
    return Merged(gone=run.nodes, nodes=nodes, kinds=whole.kinds)


def _scaled(linear: LinearMap, run: _Run, draft: Draft) -> Merged | None:
    whole = run.whole
    if whole.scale is None:
        return None
    shift, source = _before_scaling(whole), whole.source
    shifted: tuple[Node, ...] = ()
    if shift.any():
        source = draft.tensor(f"{linear.source}.shifted", linear.source)
        values = shift.reshape(-1, *(1 for _ in linear.kernel_shape))
        name = run.nodes[0].name
        operands = whole.source, constant(draft, linear, f"{name}.shift", fixed(values))
        shifted = (Node(op="Add", name=name, inputs=operands, outputs=(source,)),)
    weight = linear.weight_by_input(whole.scale)
    output = linear.node.outputs[0]
    nodes = written(linear, draft, source=source, output=output, weight=weight, bias=linear.bias)
    return Merged(gone=run.nodes, nodes=(*shifted, *nodes), kinds=whole.kinds)
