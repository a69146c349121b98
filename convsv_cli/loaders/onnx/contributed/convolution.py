"""Convolutions and pooling, with an activation or with the channels on the last axis."""

from __future__ import annotations

from convsv_cli.loaders.onnx.contributed.activations import activated
from convsv_cli.loaders.onnx.contributed.expansion import Expansion
from convsv_cli.loaders.onnx.signatures import UnreadableNodeError
from convsv_cli.model.layer import CONV, TRANSPOSED

AXES = "abcdef"
BLOCKS = (
    "whose channels are in blocks of a size that the file does not say, as processors differ in it; "
    "save it at the level ORT_ENABLE_EXTENDED"
)
TWO_LAYOUTS = "whose kernel may be in either of two layouts"


def channels_first(node: Expansion, name: str, axes: int) -> str:
    """A tensor with its last axis in place of the second one; so many axes are spatial."""
    return node.permuted(name, f"n{AXES[:axes]}c", f"nc{AXES[:axes]}")


def channels_last(node: Expansion, name: str, axes: int) -> str:
    """The other way round."""
    return node.permuted(name, f"nc{AXES[:axes]}", f"n{AXES[:axes]}c")


def _spatial(node: Expansion) -> int:
    """How many axes a kernel moves along."""
    shape = node.stored(node.needed(1))
    if not 2 < len(shape) <= 2 + len(AXES):
        raise UnreadableNodeError("whose kernel is none")
    return len(shape) - 2


def _fused(node: Expansion) -> None:
    """Conv, plus Z, and an activation."""
    node.expect(inputs=4)
    axes = _spatial(node)
    node.result(_convolved(node, node.needed(0), node.given(3), axes))


def _fused_last(node: Expansion) -> None:
    """The same with channels last in all but the kernel."""
    node.expect(inputs=4)
    axes, skip = _spatial(node), node.given(3)
    turned = channels_first(node, skip, axes) if skip else ""
    result = _convolved(node, channels_first(node, node.needed(0), axes), turned, axes)
    node.result(channels_last(node, result, axes))


def _convolved(node: Expansion, source: str, skip: str, axes: int) -> str:
    inputs = [source, node.needed(1), *filter(None, [node.given(2)])]
    own = node.attributes("activation", "activation_params")
    result = node.plus(node.emit(CONV, *inputs, rank=axes + 2, **own), skip, "added")
    return activated(node, result, node.attribute("activation", ""), node.attribute("activation_params", ()))


def _last(node: Expansion) -> None:
    """NhwcConv: its kernel is as in Conv, or also has its channels last; one of both has to fit."""
    node.expect(inputs=3)
    axes, kernel = _spatial(node), node.stored(node.needed(1))
    size: tuple[int, ...] = node.attribute("kernel_shape", ())
    as_ever, turned = kernel[2:] == size, kernel[1:-1] == size
    if as_ever == turned:
        raise UnreadableNodeError(TWO_LAYOUTS)
    weight = channels_first(node, node.needed(1), axes) if turned else node.needed(1)
    inputs = [channels_first(node, node.needed(0), axes), weight, *filter(None, [node.given(2)])]
    result = node.emit(CONV, *inputs, rank=axes + 2, **node.attributes())
    node.result(channels_last(node, result, axes))


def _pooled(node: Expansion) -> None:
    """NhwcMaxPool, of whole numbers as well."""
    node.expect(inputs=1)
    axes = len(node.attribute("kernel_shape", ()))
    if not 0 < axes <= len(AXES):
        raise UnreadableNodeError("whose kernel is none")
    source = channels_first(node, node.needed(0), axes)
    pooled = node.emit("MaxPool", source, rank=axes + 2, **node.attributes())
    node.result(channels_last(node, pooled, axes))


def _dynamic_pads(node: Expansion) -> None:
    """ConvTransposeWithDynamicPads: pads are an input, which has to be stored."""
    node.expect(inputs=4)
    axes, given = _spatial(node), node.attributes()
    if node.given(2):
        given["pads"] = node.numbers(node.given(2))
    inputs = [node.needed(0), node.needed(1), *filter(None, [node.given(3)])]
    node.result(node.emit(TRANSPOSED, *inputs, rank=axes + 2, **given))


RULES = {
    "ConvTransposeWithDynamicPads": _dynamic_pads,
    "FusedConv": _fused,
    "NhwcConv": _last,
    "NhwcFusedConv": _fused_last,
    "NhwcMaxPool": _pooled,
}


def _internal_convolution(node: Expansion) -> None:
    """Conv and ConvTranspose of com.ms.internal.nhwc: only the input and the result have channels last."""
    node.expect(inputs=3)
    axes = _spatial(node)
    inputs = [
        channels_first(node, node.needed(0), axes),
        node.needed(1),
        *filter(None, [node.given(2)]),
    ]
    result = node.emit(node.node.op_type, *inputs, rank=axes + 2, **node.attributes())
    node.result(channels_last(node, result, axes))


def _internal_pooling(node: Expansion) -> None:
    node.expect(inputs=1)
    axes = len(node.attribute("kernel_shape", ()))
    if not 0 < axes <= len(AXES):
        raise UnreadableNodeError("whose kernel is none")
    source = channels_first(node, node.needed(0), axes)
    pooled = node.emit(node.node.op_type, source, rank=axes + 2, **node.attributes())
    node.result(channels_last(node, pooled, axes))


def blocked(_: Expansion) -> None:
    """Of com.microsoft.nchwc, which onnxruntime makes at its highest level of optimisation."""
    raise UnreadableNodeError(BLOCKS)


INTERNAL = {
    **dict.fromkeys((CONV, TRANSPOSED), _internal_convolution),
    **dict.fromkeys(("AveragePool", "MaxPool"), _internal_pooling),
}
"""Of com.ms.internal.nhwc."""
