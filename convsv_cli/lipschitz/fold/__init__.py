"""Exact folding of linear pieces: the same function, by fewer operations, so that fewer norms are multiplied.

The product of two norms is at least the norm of the product, so that no bound becomes larger. Nothing is
to be done for a global average pool, Flatten and a matrix: the pool is 1/sqrt(n) times a map that keeps the
length of all images whose channels are constant, and those are all that the matrix sees, so that the product
of both norms is already the norm of both together.

A scaling or shift after a map becomes its own: s (W x + b) + t = (s W) x + (s b + t). So does one before it:
W (s x + t) = (W s) x + W t. Zeros of the padding are scaled to zeros, but are not shifted: with padding
s x + t = s (x + t / s), of which only the scaling commutes.

Two maps, one after the other, become one. A 1x1 convolution after a convolution, however that pads, is
exact. Before one, its bias meets the padding, which is zero and not the bias; where the input size is known,
the bias becomes an image that is added after the convolution. Two convolutions with spatial extent stay two:
with zero padding between them they are no convolution. Products by two constant matrices are one: Gemm,
MatMul, MatMul and Add.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.fold.affine import Affine, affine_at, constant, written
from convsv_cli.lipschitz.fold.diagonal import BATCH_NORM, SCALING, Diagonal, diagonal
from convsv_cli.lipschitz.fold.rewrite import Replacement, Rewrite, rewritten, without_identities
from convsv_cli.lipschitz.fold.weight import Weight, bordered_response, composed, fixed, response, together
from convsv_cli.model.graph import Graph, Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_SHIFT = 2.0**20
"""A shift that grows beyond this when the scaling is taken off it stays as it is."""
POINTWISE = "1×1 convolution"
MATRIX = "matrix"
VERBS = {BATCH_NORM: "folded", SCALING: "folded", POINTWISE: "merged", MATRIX: "merged"}
PLURALS = {MATRIX: "matrices"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Folding:
    """A graph of the same function, and what was done, in words such as "19 BatchNorms folded"."""

    graph: Graph
    notes: tuple[str, ...]


def folded(graph: Graph) -> Folding:
    """Fold identities, then all that the merges find, until they find nothing.

    A BatchNorm between two maps goes to the first one, which takes its shift too: merges are in that order.
    The graph itself where nothing is found, or where to look takes more steps than the model may.
    Only tensors that one node uses are folded away; outputs of the graph and what bodies use stay. A node
    whose weight changes keeps its name.
    """
    whole, kinds, found = without_identities(graph), Counter[str](), True
    changed = len(whole.main.nodes) < len(graph.main.nodes)
    try:
        while found:
            found = False
            for merge in (after, before, pointwise, matrices):
                whole, times, new = rewritten(whole, merge)
                kinds.update(new)
                found = found or times > 0
            changed = changed or found
    except LimitError:
        return Folding(graph=graph, notes=())
    if not changed:
        return Folding(graph=graph, notes=())
    return Folding(graph=whole, notes=tuple(_note(kind, kinds[kind]) for kind in VERBS if kinds[kind]))


def _note(kind: str, count: int) -> str:
    plural = PLURALS.get(kind, f"{kind}s")
    return f"{count} {kind if count == 1 else plural} {VERBS[kind]}"


def affine_ending_at(node: Node, rewrite: Rewrite) -> Affine | None:
    """The map that a node is, or that is a MatMul and this Add of its bias."""
    if node.op != "Add":
        return affine_at(node, rewrite)
    for name in node.inputs:
        maker = rewrite.private_maker(name)
        product = affine_at(maker, rewrite) if maker is not None and maker.op == "MatMul" else None
        if product is None:
            continue
        found = diagonal(node, rewrite, product.outputs, certain=True)
        if found is not None and found.shift is not None:
            return replace(product, nodes=(product.node, node), bias=fixed(found.shift))
    return None


def after(node: Node, rewrite: Rewrite) -> Replacement | None:
    """A scaling or shift of the output channels of the map before it."""
    for name in node.inputs:
        maker = rewrite.private_maker(name)
        affine = affine_ending_at(maker, rewrite) if maker is not None else None
        if affine is None:
            continue
        found = diagonal(node, rewrite, affine.outputs, certain=True)
        if found is not None and found.source == name and not _is_own_bias(affine, found):
            weight = None if found.scale is None else affine.weight_by_output(found.scale)
            bias = _shifted(affine.bias, found)
            nodes = written(affine, rewrite, output=node.outputs[0], weight=weight, bias=bias)
            return Replacement(gone=affine.nodes, nodes=nodes, kinds=found.kinds)
    return None


def _is_own_bias(affine: Affine, found: Diagonal) -> bool:
    """A shift is where it belongs where the operator has no bias."""
    return affine.node.op == "MatMul" and affine.bias is None and found.scale is None


def _shifted(old: Weight | None, found: Diagonal) -> Weight | None:
    bias = old if old is None or found.scale is None else old.scaled(found.scale)
    shift = found.shift
    if shift is None:
        return bias
    return fixed(shift) if bias is None else bias.plus(shift)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """Consecutive scalings and shifts, as one."""

    nodes: tuple[Node, ...]
    whole: Diagonal


def before(node: Node, rewrite: Rewrite) -> Replacement | None:
    """All scalings and shifts of the input channels right before a map, as far as they commute with it."""
    affine = affine_at(node, rewrite)
    run = None if affine is None else _run_before(affine, rewrite)
    if affine is None or run is None:
        return None
    return _absorbed(affine, run, rewrite) if affine.unpadded else _scaled(affine, run, rewrite)


def _run_before(affine: Affine, rewrite: Rewrite) -> _Run | None:
    run: _Run | None = None
    name = affine.source
    while (maker := rewrite.private_maker(name)) is not None:
        found = diagonal(maker, rewrite, affine.inputs, certain=False)
        if found is None:
            break
        whole = found if run is None else run.whole.after(found)
        if not _commutes(whole, affine):
            break
        run = _Run(nodes=(maker, *(run.nodes if run else ())), whole=whole)
        name = found.source
    return run


def _commutes(whole: Diagonal, affine: Affine) -> bool:
    """Whether the shift, with the scaling taken off it, is one: no channel is scaled to (nearly) nothing."""
    return affine.unpadded or bool((np.abs(_before_scaling(whole)) <= LARGEST_SHIFT).all())


def _before_scaling(whole: Diagonal) -> NDArray[np.float64]:
    if whole.shift is None or whole.scale is None:
        return np.zeros(1) if whole.shift is None else whole.shift
    with np.errstate(all="ignore"):
        return np.where(whole.shift == 0, 0.0, whole.shift / whole.scale)


def _absorbed(affine: Affine, run: _Run, rewrite: Rewrite) -> Replacement:
    whole = run.whole
    bias, shift = affine.bias, whole.shift
    if shift is not None:
        bias = together(response(affine.weight, fixed(shift)), bias)
    weight = None if whole.scale is None else affine.weight_by_input(whole.scale)
    nodes = written(
        affine, rewrite, source=whole.source, output=affine.node.outputs[0], weight=weight, bias=bias
    )
    return Replacement(gone=run.nodes, nodes=nodes, kinds=whole.kinds)


def _scaled(affine: Affine, run: _Run, rewrite: Rewrite) -> Replacement | None:
    whole = run.whole
    if whole.scale is None:
        return None
    shift, source = _before_scaling(whole), whole.source
    shifted: tuple[Node, ...] = ()
    if shift.any():
        source = rewrite.tensor(f"{affine.source}.shifted", affine.source)
        values = shift.reshape(-1, *(1 for _ in affine.kernel_shape))
        name = run.nodes[0].name
        operands = whole.source, constant(rewrite, affine, f"{name}.shift", fixed(values))
        shifted = (Node(op="Add", name=name, inputs=operands, outputs=(source,)),)
    weight = affine.weight_by_input(whole.scale)
    output = affine.node.outputs[0]
    nodes = written(affine, rewrite, source=source, output=output, weight=weight, bias=affine.bias)
    return Replacement(gone=run.nodes, nodes=(*shifted, *nodes), kinds=whole.kinds)


def pointwise(node: Node, rewrite: Rewrite) -> Replacement | None:
    """A convolution and the one before it, where one of them is 1x1 and neither is grouped."""
    second = affine_at(node, rewrite)
    maker = rewrite.private_maker(node.inputs[0]) if second is not None else None
    first = affine_at(maker, rewrite) if maker is not None else None
    if first is None or second is None or (first.groups, second.groups) != (1, 1):
        return None
    if not (first.kernel_shape and second.kernel_shape and (first.pointwise or second.pointwise)):
        return None
    weight = composed(second.weight, first.weight)
    return None if weight is None else _as_one(first, second, weight, rewrite)


def _as_one(first: Affine, second: Affine, weight: Weight, rewrite: Rewrite) -> Replacement | None:
    output, level = second.node.outputs[0], first.bias
    if level is None or second.unpadded:
        bias = second.bias if level is None else together(response(second.weight, level), second.bias)
        spatial = first if second.pointwise else second
        nodes = written(spatial, rewrite, source=first.source, output=output, weight=weight, bias=bias)
    else:
        image = _image(first, second, level, rewrite)
        if image is None:
            return None
        middle = rewrite.tensor(f"{output}.linear", output)
        convolution = written(
            second, rewrite, source=first.source, output=middle, weight=weight, bias=second.bias
        )
        nodes = (*convolution, _add(middle, image, output, second, rewrite))
    return Replacement(gone=first.nodes, nodes=nodes, kinds=(POINTWISE,))


def _image(first: Affine, second: Affine, level: Weight, rewrite: Rewrite) -> Weight | None:
    """What the second one makes of the first one's bias, where the sizes of the image are known."""
    known = second.geometry.padding and not second.geometry.transposed
    sizes = [size for size in (rewrite.shape(first.source) or ())[2:] if size is not None]
    if not known or len(sizes) != len(second.kernel_shape):
        return None
    image = bordered_response(second, level, tuple(sizes))
    shape = rewrite.shape(second.node.outputs[0])
    return image if image is not None and shape is not None and shape[2:] == image.shape[2:] else None


def _add(source: str, image: Weight, output: str, second: Affine, rewrite: Rewrite) -> Node:
    name = rewrite.fresh(f"{second.node.name}.bias")
    added = constant(rewrite, second, f"{name}.image", image)
    return Node(op="Add", name=name, inputs=(source, added), outputs=(output,))


def matrices(node: Node, rewrite: Rewrite) -> Replacement | None:
    """A matrix and the one before it; a bias between them becomes one after them."""
    second = affine_at(node, rewrite)
    maker = rewrite.private_maker(node.inputs[0]) if second is not None else None
    first = affine_ending_at(maker, rewrite) if maker is not None else None
    if first is None or second is None or first.kernel_shape or second.kernel_shape:
        return None
    weight = composed(second.weight, first.weight)
    rows = {bias.shape[0] for bias in (first.bias, second.bias) if bias is not None and len(bias.shape) > 1}
    if weight is None or len(rows - {1}) > 1:
        return None
    bias = second.bias
    if first.bias is not None:
        bias = together(response(second.weight, first.bias), bias)
    like = first if first.node.op == "Gemm" else second
    name = max(first, second, key=lambda affine: math.prod(affine.weight.shape)).node.name
    output = second.node.outputs[0]
    nodes = written(like, rewrite, source=first.source, output=output, weight=weight, bias=bias, name=name)
    return Replacement(gone=first.nodes, nodes=nodes, kinds=(MATRIX,))
