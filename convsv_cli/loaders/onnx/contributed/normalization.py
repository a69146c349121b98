"""Normalization of sums, of groups of channels, and by mean squares alone."""

from __future__ import annotations

from convsv_cli.loaders.onnx.contributed.activations import silu
from convsv_cli.loaders.onnx.contributed.convolution import channels_first, channels_last
from convsv_cli.loaders.onnx.contributed.expansion import Expansion
from convsv_cli.loaders.onnx.signatures import UnreadableNodeError

TOKENS, GROUPS = 1e-12, 1e-5
"""Defaults of epsilon: of what normalises the vector of a token, and of other operators."""
SPATIAL = 2
MOST_GROUPS = 1 << 16
LAST_SUM = 3
"""The output of SkipLayerNormalization that is the sum."""


def _skip_layer(node: Expansion) -> None:
    """LayerNormalization of input + skip + bias."""
    node.expect(inputs=5, outputs=(0, LAST_SUM))
    total = _skipped(node, 4)
    scales = [node.needed(2), *filter(None, [node.given(3)])]
    node.result(_normalised(node, "LayerNormalization", total, *scales))


def _skip_simplified(node: Expansion) -> None:
    """RMSNormalization of the same."""
    node.expect(inputs=4, outputs=(0, LAST_SUM))
    node.result(_normalised(node, "RMSNormalization", _skipped(node, 3), node.needed(2)))


def _skipped(node: Expansion, bias: int) -> str:
    """Input + skip + bias, which may be an output as well."""
    total = node.plus(node.plus(node.needed(0), node.needed(1), "skip"), node.given(bias), "bias")
    if not node.asked_for(LAST_SUM):
        return total
    node.result(total, LAST_SUM)
    return str(node.node.output[LAST_SUM])


def _normalised(node: Expansion, op: str, source: str, *scales: str) -> str:
    """Along the last axis."""
    epsilon = node.attribute("epsilon", TOKENS)
    return node.emit(op, source, *scales, rank=node.rank(source), axis=-1, epsilon=epsilon)


def _simplified(node: Expansion) -> None:
    """RMSNormalization by another name."""
    node.expect(inputs=2)
    source, own = node.needed(0), node.attributes()
    own.setdefault("epsilon", GROUPS)
    node.result(node.emit("RMSNormalization", source, node.needed(1), rank=node.rank(source), **own))


def _groups(node: Expansion) -> None:
    node.expect(inputs=3)
    source, last = node.needed(0), node.flag("channels_last", default=True)
    node.result(_grouped(node, channels_first(node, source, SPATIAL) if last else _image(node, source), last))


def _skip_groups(node: Expansion) -> None:
    """GroupNorm of X + skip + bias, where skip may be one number for each sample and channel."""
    node.expect(inputs=5, outputs=(0, 1))
    last, skip = node.flag("channels_last", default=True), node.needed(3)
    source, bias = node.needed(0), node.given(4)
    rank = node.rank(skip)
    if rank is None:
        raise UnreadableNodeError("whose skip has an unknown number of axes")
    if rank == 2:
        skip = node.reshaped(skip, [0, 1, 1, -1] if last else [0, -1, 1, 1], "skip")
    if bias and not last:
        bias = node.reshaped(bias, [-1, 1, 1], "bias")
    total = node.plus(node.plus(_image(node, source), skip, "sum"), bias, "shifted")
    if node.asked_for(1):
        node.result(total, 1)
        total = node.node.output[1]
    node.result(_grouped(node, channels_first(node, total, SPATIAL) if last else total, last))


def _image(node: Expansion, name: str) -> str:
    return node.permuted(name, "nchw", "nchw")


def _grouped(node: Expansion, source: str, last: bool) -> str:  # noqa: FBT001
    """InstanceNormalization of each group as one channel, scales of channels, and an activation."""
    groups = node.attribute("groups", 0)
    if not 0 < groups <= min(MOST_GROUPS, node.stored(node.needed(1))[0]):
        raise UnreadableNodeError(f"whose groups are {groups}")
    activation = node.attribute("activation", 0)
    if activation not in (0, 1):
        raise UnreadableNodeError(f"whose activation is {activation}, which convsv does not read")
    ones, zeros = node.real([1.0] * groups), node.real([0.0] * groups)
    each, epsilon = node.reshaped(source, [0, groups, -1], "groups"), node.attribute("epsilon", GROUPS)
    normal = node.emit("InstanceNormalization", each, ones, zeros, rank=3, epsilon=epsilon)
    shape = node.emit("Shape", source, what="shape", rank=1)
    restored = node.emit("Reshape", normal, shape, what="channels", rank=SPATIAL + 2)
    scale, shift = (node.reshaped(node.needed(index), [-1, 1, 1], "by channel") for index in (1, 2))
    scaled = node.emit("Mul", restored, scale, what="scaled", rank=SPATIAL + 2)
    result = node.plus(scaled, shift, "shifted")
    if activation:
        result = silu(node, result)
    return channels_last(node, result, SPATIAL) if last else result


def _embedded(node: Expansion) -> None:
    """LayerNormalization of the vectors of words, positions and segments; positions count from 0."""
    node.expect(inputs=9, outputs=(0, 2))
    words, positions = node.needed(0), node.given(8)
    found = node.emit("Gather", node.needed(2), words, what="words", rank=3)
    if positions:
        placed = node.emit("Gather", node.needed(3), positions, what="positions", rank=3)
    else:
        length = node.emit("Gather", node.emit("Shape", words, what="shape"), node.whole([1]), what="length")
        ends = [node.whole([0]), length, node.whole([0])]
        placed = node.emit("Slice", node.needed(3), *ends, what="positions", rank=2)
    total = node.plus(found, placed, "placed")
    if node.given(1):
        segments = node.emit("Gather", node.needed(4), node.given(1), what="segments", rank=3)
        total = node.plus(total, segments, "embedded")
    if node.asked_for(2):
        node.result(total, 2)
        total = node.node.output[2]
    node.result(_normalised(node, "LayerNormalization", total, node.needed(5), node.needed(6)))


RULES = {
    "EmbedLayerNormalization": _embedded,
    "GroupNorm": _groups,
    "SimplifiedLayerNormalization": _simplified,
    "SkipGroupNorm": _skip_groups,
    "SkipLayerNormalization": _skip_layer,
    "SkipSimplifiedLayerNormalization": _skip_simplified,
}
