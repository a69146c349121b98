"""Products by two constant matrices, one after the other, are one: Gemm, MatMul, MatMul and Add."""

from __future__ import annotations

import math

from convsv_cli.lipschitz.fold.biased import map_ending_at
from convsv_cli.lipschitz.fold.biases import response, together
from convsv_cli.lipschitz.fold.composed import composed
from convsv_cli.lipschitz.fold.maps import MATRICES, LinearMap, map_at
from convsv_cli.lipschitz.fold.sweep import Draft, Merged
from convsv_cli.lipschitz.fold.writing import written
from convsv_cli.model.graph import Node

KIND = "matrix"


def merge(node: Node, draft: Draft) -> Merged | None:
    """A matrix and the one before it; a bias between them becomes one after them."""
    second = map_at(node, draft) if node.op in MATRICES else None
    maker = draft.private_maker(node.inputs[0]) if second is not None else None
    first = map_ending_at(maker, draft) if maker is not None else None
    if first is None or second is None or first.node.op not in MATRICES:
        return None
    weight = composed(second.weight, first.weight)
    if weight is None:
        return None
    bias = second.bias
    if first.bias is not None:
        bias = together(response(second.weight, first.bias), bias)
    like = first if first.node.op == "Gemm" else second
    name = max(first, second, key=_entries).node.name
    output = second.node.outputs[0]
    nodes = written(like, draft, source=first.source, output=output, weight=weight, bias=bias, name=name)
    return Merged(gone=first.nodes, nodes=nodes, kinds=(KIND,))


def _entries(linear: LinearMap) -> int:
    return math.prod(linear.weight.shape)
