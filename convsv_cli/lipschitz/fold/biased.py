"""A linear map together with the bias that follows it."""

from __future__ import annotations

from dataclasses import replace

from convsv_cli.lipschitz.fold.diagonal import diagonal
from convsv_cli.lipschitz.fold.maps import LinearMap, map_at
from convsv_cli.lipschitz.fold.sweep import Draft
from convsv_cli.lipschitz.fold.weight import fixed
from convsv_cli.model.graph import Node


def map_ending_at(node: Node, draft: Draft) -> LinearMap | None:
    """The map that a node is, or that is a MatMul and this Add of its bias."""
    if node.op != "Add":
        return map_at(node, draft)
    for name in node.inputs:
        maker = draft.private_maker(name)
        product = map_at(maker, draft) if maker is not None and maker.op == "MatMul" else None
        if product is None:
            continue
        found = diagonal(node, draft, product.outputs, certain=True)
        if found is not None and found.shift is not None:
            return replace(product, nodes=(product.node, node), bias=fixed(found.shift))
    return None
