"""Scalings and shifts after a linear map become its own: s (W x + b) + t = (s W) x + (s b + t)."""

from __future__ import annotations

from convsv_cli.lipschitz.fold.biased import map_ending_at
from convsv_cli.lipschitz.fold.diagonal import Diagonal, diagonal
from convsv_cli.lipschitz.fold.maps import LinearMap
from convsv_cli.lipschitz.fold.sweep import Draft, Merged
from convsv_cli.lipschitz.fold.weight import Weight, fixed
from convsv_cli.lipschitz.fold.writing import written
from convsv_cli.model.graph import Node


def merge(node: Node, draft: Draft) -> Merged | None:
    """A scaling or shift of the output channels of the map before it."""
    for name in node.inputs:
        maker = draft.private_maker(name)
        linear = map_ending_at(maker, draft) if maker is not None else None
        if linear is None:
            continue
        found = diagonal(node, draft, linear.outputs, certain=True)
        if found is not None and found.source == name and not _is_own_bias(linear, found):
            return _merged(linear, found, node.outputs[0], draft)
    return None


def _is_own_bias(linear: LinearMap, found: Diagonal) -> bool:
    """A shift is where it belongs where the operator has no bias."""
    return linear.node.op == "MatMul" and linear.bias is None and found.scale is None


def _merged(linear: LinearMap, found: Diagonal, output: str, draft: Draft) -> Merged:
    weight = None if found.scale is None else linear.weight_by_output(found.scale)
    bias = _bias(linear.bias, found)
    nodes = written(linear, draft, output=output, weight=weight, bias=bias)
    return Merged(gone=linear.nodes, nodes=nodes, kinds=found.kinds)


def _bias(old: Weight | None, found: Diagonal) -> Weight | None:
    bias = old if old is None or found.scale is None else old.scaled(found.scale)
    shift = found.shift
    if shift is None:
        return bias
    return fixed(shift) if bias is None else bias.plus(shift)
