"""A 1x1 convolution next to another convolution: the product of their kernels.

After a convolution, however that pads, it is exact. Before one, its bias meets the padding, which is zero and
not the bias; where the input size is known, the bias becomes an image that is added after the convolution.
Two convolutions with spatial extent stay two: with zero padding between them they are no convolution.
"""

from __future__ import annotations

from convsv_cli.lipschitz.fold.biases import bordered_response, response, together
from convsv_cli.lipschitz.fold.composed import composed
from convsv_cli.lipschitz.fold.maps import CONVOLUTIONS, LinearMap, map_at
from convsv_cli.lipschitz.fold.sweep import Draft, Merged
from convsv_cli.lipschitz.fold.weight import Weight
from convsv_cli.lipschitz.fold.writing import constant, written
from convsv_cli.model.graph import Node

KIND = "1×1 convolution"


def merge(node: Node, draft: Draft) -> Merged | None:
    """A convolution and the one before it, where one of them is 1x1 and neither is grouped."""
    second = map_at(node, draft) if node.op in CONVOLUTIONS else None
    maker = draft.private_maker(node.inputs[0]) if second is not None else None
    if second is None or maker is None or maker.op not in CONVOLUTIONS:
        return None
    first = map_at(maker, draft)
    if first is None or (first.groups, second.groups) != (1, 1):
        return None
    if not (first.pointwise or second.pointwise):
        return None
    weight = composed(second.weight, first.weight)
    return None if weight is None else _merged(first, second, weight, draft)


def _merged(first: LinearMap, second: LinearMap, weight: Weight, draft: Draft) -> Merged | None:
    output, level = second.node.outputs[0], first.bias
    if level is None or second.pointwise or (second.node.op == "Conv" and second.unpadded):
        bias = second.bias if level is None else together(response(second.weight, level), second.bias)
        spatial = first if second.pointwise else second
        nodes = written(spatial, draft, source=first.source, output=output, weight=weight, bias=bias)
    else:
        image = _image(first, second, level, draft)
        if image is None:
            return None
        middle = draft.tensor(f"{output}.linear", output)
        convolution = written(
            second, draft, source=first.source, output=middle, weight=weight, bias=second.bias
        )
        nodes = (*convolution, _add(middle, image, output, second, draft))
    return Merged(gone=first.nodes, nodes=nodes, kinds=(KIND,))


def _image(first: LinearMap, second: LinearMap, level: Weight, draft: Draft) -> Weight | None:
    """What the second one makes of the first one's bias, where the sizes of the image are known."""
    explicit = second.node.op == "Conv" and second.node.attribute("auto_pad", "NOTSET") == "NOTSET"
    sizes = [size for size in (draft.shape(first.source) or ())[2:] if size is not None]
    if not explicit or len(sizes) != len(second.kernel_shape):
        return None
    image = bordered_response(second, level, tuple(sizes))
    known = draft.shape(second.node.outputs[0])
    return image if image is not None and known is not None and known[2:] == image.shape[2:] else None


def _add(source: str, image: Weight, output: str, second: LinearMap, draft: Draft) -> Node:
    name = draft.fresh(f"{second.node.name}.bias")
    added = constant(draft, second, f"{name}.image", image)
    return Node(op="Add", name=name, inputs=(source, added), outputs=(output,))
