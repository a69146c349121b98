"""Nodes written so that onnx's inference finds the sizes of their results that runtimes do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from onnx import GraphProto, NodeProto

from convsv_cli.loaders.onnx.history import own
from convsv_cli.loaders.onnx.scopes import bodies, constant_tensor

STORED = "convsv"
"""The domain of nodes that stand for large tensors where those cannot be inputs."""
POOLS = ("AveragePool", "LpPool", "MaxPool")


def as_runtimes(graph: GraphProto, outer: Mapping[str, tuple[int, ...]]) -> None:
    """Rewrite nodes in place, those of bodies as well; only what they say of sizes remains true.

    Args:
        graph: a skeleton.
        outer: shapes of constants around the graph.
    """
    shapes = {**outer, **dict(_constant_shapes(graph))}
    for node in graph.node:
        for _, body in bodies(node):
            as_runtimes(body, shapes)
        if node.op_type == "ConvTranspose":
            _limit_output_padding(node, shapes)
        if node.op_type in POOLS and own(node):
            _round_down(node)
        _correct(node)


def _correct(node: NodeProto) -> None:
    """What inference does not know of some operators.

    One side of the frequencies of an STFT is the default. In onnxruntime, parts of a SplitToSequence may lose
    their axis (`keepdims` is 0) also where a `split` is given; and it has an own size for a Resize that is to
    keep the ratio of axes which are counted from the end. The sizes of these two are left open.
    """
    attributes = {entry.name: entry for entry in node.attribute}
    if not own(node):
        return
    if node.op_type == "STFT" and "onesided" not in attributes:
        node.attribute.append(onnx.helper.make_attribute("onesided", 1))
    given = len(node.input) > 1 and bool(node.input[1])
    if node.op_type == "SplitToSequence" and given and "keepdims" in attributes:
        node.domain = STORED
    if node.op_type == "Resize" and "keep_aspect_ratio_policy" in attributes and "axes" in attributes:
        ratio = attributes["keep_aspect_ratio_policy"].s != b"stretch"
        if ratio and min(attributes["axes"].ints, default=0) < 0:
            node.domain = STORED


def _round_down(node: NodeProto) -> None:
    """Write pooling that rounds its sizes up as one that rounds down, with other padding at the end.

    Runtimes leave out a window that begins in the padding at the end; before opset 22, inference does not. Of
    n entries with the padding p and q, kernels that reach r further and the stride s, w + 1 windows are left:
    w is the smaller one of ceil((n + p + q - r - 1) / s) and floor((n + p - 1) / s), after which the next one
    begins behind the end. That is floor((n + p + t - r - 1) / s) with the smaller one t of q + s - 1 and r.

    Padding that is to keep the size leaves nothing to round. Runtimes do not agree on how much it is where
    the kernel has gaps, nor on whether sizes are rounded up where there is no padding at all (VALID): these
    sizes are unknown.
    """
    attributes = {entry.name: entry for entry in node.attribute}
    sizes = {entry.name: tuple(entry.ints) for entry in node.attribute}
    kernel = sizes.get("kernel_shape", ())
    rank = len(kernel)
    strides, dilations = (sizes.get(name) or (1,) * rank for name in ("strides", "dilations"))
    pads = sizes.get("pads") or (0,) * 2 * rank
    if not 2 * rank == 2 * len(strides) == 2 * len(dilations) == len(pads):
        return
    automatic = attributes["auto_pad"].s if "auto_pad" in attributes else b"NOTSET"
    up = "ceil_mode" in attributes and bool(attributes["ceil_mode"].i)
    gaps = any(d > 1 and k > 1 for d, k in zip(dilations, kernel, strict=True))
    if (automatic.startswith(b"SAME") and gaps) or (automatic == b"VALID" and up and set(strides) != {1}):
        node.domain = STORED
    if not up:
        return
    attributes["ceil_mode"].i = 0
    if automatic != b"NOTSET":
        return
    ends = zip(pads[rank:], strides, dilations, kernel, strict=True)
    after = [min(q + s - 1, d * (k - 1)) for q, s, d, k in ends]
    if "pads" in attributes:
        node.attribute.remove(attributes["pads"])
    node.attribute.append(onnx.helper.make_attribute("pads", [*pads[:rank], *after]))


def _limit_output_padding(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Reduce the output padding of a ConvTranspose to what it adds.

    With SAME_UPPER and SAME_LOWER, its output is no longer than input times stride, whatever its output
    padding; inference adds that on top. Where the shape of the kernel is not known, neither is the output's.
    """
    attributes = {entry.name: entry for entry in node.attribute}
    same = "auto_pad" in attributes and attributes["auto_pad"].s.startswith(b"SAME")
    sizes = {entry.name: tuple(entry.ints) for entry in node.attribute}
    paddings = sizes.get("output_padding", ())
    if not same or not any(paddings) or "output_shape" in attributes:
        return
    kernel = sizes.get("kernel_shape") or shapes.get(node.input[1], ())[2:]
    strides, dilations = (sizes.get(name) or (1,) * len(paddings) for name in ("strides", "dilations"))
    if not len(kernel) == len(strides) == len(dilations) == len(paddings):
        node.domain = STORED
        return
    room = [max(0, s - d * (k - 1) - 1) for s, d, k in zip(strides, dilations, kernel, strict=True)]
    attributes["output_padding"].ints[:] = list(map(min, paddings, room))


def _constant_shapes(graph: GraphProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Shapes by name: of initializers, of what Constant nodes hold, and of what `STORED` nodes stand for."""
    for tensor in graph.initializer:
        yield tensor.name, tuple(tensor.dims)
    values = {value.name: value.type.tensor_type.shape for value in graph.value_info}
    for node in graph.node:
        held = constant_tensor(node)
        if held is not None:
            yield node.output[0], tuple(held.dims)
        elif node.domain == STORED:
            yield node.output[0], tuple(dim.dim_value for dim in values[node.output[0]].dim)
