"""Two linear maps, one after the other, become one: the product of their kernels.

A 1x1 convolution after a convolution, however that pads, is exact. Before one, its bias meets the padding,
which is zero and not the bias; where the input size is known, the bias becomes an image that is added after
the convolution. Two convolutions with spatial extent stay two: with zero padding between them they are no
convolution. Products by two constant matrices are one: Gemm, MatMul, MatMul and Add.
"""

from __future__ import annotations

import math

from convsv_cli.lipschitz.fold.affine import Affine, affine_at, constant, written
from convsv_cli.lipschitz.fold.rewrite import Replacement, Rewrite
from convsv_cli.lipschitz.fold.scalings import affine_ending_at
from convsv_cli.lipschitz.fold.weight import Weight, bordered_response, composed, response, together
from convsv_cli.model.graph import Node

POINTWISE = "1×1 convolution"
MATRIX = "matrix"


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
    if weight is None:
        return None
    bias = second.bias
    if first.bias is not None:
        bias = together(response(second.weight, first.bias), bias)
    like = first if first.node.op == "Gemm" else second
    name = max(first, second, key=lambda affine: math.prod(affine.weight.shape)).node.name
    output = second.node.outputs[0]
    nodes = written(like, rewrite, source=first.source, output=output, weight=weight, bias=bias, name=name)
    return Replacement(gone=first.nodes, nodes=nodes, kinds=(MATRIX,))
