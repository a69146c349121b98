"""Activations that onnxruntime fuses with what is before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convsv_cli.loaders.onnx.contributed.expansion import CLIPPED_BY_INPUTS, Expansion
from convsv_cli.loaders.onnx.signatures import UnreadableNodeError

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh"), ()),
    **dict.fromkeys(("Celu", "Elu", "LeakyRelu", "ThresholdedRelu"), ("alpha",)),
    "Clip": ("min", "max"),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
"""The attributes of activations that are fused; all of them are given, defaults too."""


def activated(node: Expansion, name: str, activation: str, values: Sequence[float]) -> str:
    """An activation of a tensor.

    Args:
        node: that is being read.
        name: of the tensor.
        activation: as onnxruntime calls it; empty for none.
        values: its parameters.

    Raises:
        UnreadableNodeError: convsv does not know it.
    """
    if not activation:
        return name
    expected = PARAMETERS.get(activation)
    if expected is None or len(values) != len(expected):
        raise UnreadableNodeError(
            f"whose activation is {activation!r} with {len(values)} parameters, which convsv does not read"
        )
    rank = node.rank(name)
    if activation == "Clip" and node.known.opset >= CLIPPED_BY_INPUTS:
        limits = [node.real(value) for value in values]
        return node.emit("Clip", name, *limits, what=activation, rank=rank)
    parameters = dict(zip(expected, map(float, values), strict=True))
    return node.emit(activation, name, what=activation, rank=rank, **parameters)


def silu(node: Expansion, name: str, alpha: float = 1.0) -> str:
    """Its product with the sigmoid of alpha times it."""
    rank = node.rank(name)
    gate = node.emit("Sigmoid", node.times(name, alpha), what="gate", rank=rank)
    return node.emit("Mul", name, gate, rank=rank)


def gelu(node: Expansion, name: str, approximate: str = "none") -> str:
    """Gelu, exact or by a hyperbolic tangent."""
    return node.emit("Gelu", name, rank=node.rank(name), approximate=approximate)


def _gelu(node: Expansion) -> None:
    node.expect(inputs=1)
    node.result(gelu(node, node.needed(0)))


def _bias_gelu(node: Expansion) -> None:
    node.expect(inputs=2)
    node.result(gelu(node, node.plus(node.needed(0), node.needed(1), "bias")))


def _fast_gelu(node: Expansion) -> None:
    node.expect(inputs=2)
    node.result(gelu(node, node.plus(node.needed(0), node.given(1), "bias"), "tanh"))


def _quick_gelu(node: Expansion) -> None:
    node.expect(inputs=1)
    node.result(silu(node, node.needed(0), node.attribute("alpha", 1.702)))


def _bias_add(node: Expansion) -> None:
    """X + bias + skip."""
    node.expect(inputs=3)
    node.result(node.plus(node.plus(node.needed(0), node.needed(1), "bias"), node.needed(2)))


def _bias_split_gelu(node: Expansion) -> None:
    """With a bias added, the first half of the last axis times the Gelu of the second."""
    node.expect(inputs=2)
    (width,) = node.stored(node.needed(1))
    whole = node.plus(node.permuted(node.needed(0), "nsd", "nsd"), node.needed(1), "bias")
    left, right = node.sliced(whole, 0, width // 2, 2), node.sliced(whole, width // 2, width, 2)
    node.result(node.emit("Mul", left, gelu(node, right), what="product", rank=3))


def _bias_softmax(node: Expansion) -> None:
    """Over all axes from one on together, after a bias was added that is broadcast as ever."""
    node.expect(inputs=2)
    axis, scores = node.attribute("axis", 1), node.plus(node.needed(0), node.needed(1), "bias")
    rank = node.rank(scores)
    if axis == -1 or (rank is not None and axis == rank - 1):
        node.result(node.emit("Softmax", scores, rank=rank, axis=-1))
        return
    flat = node.emit("Flatten", scores, what="flat", rank=2, axis=axis)
    softmax, shape = node.emit("Softmax", flat, rank=2, axis=-1), node.emit("Shape", scores, what="shape")
    node.result(node.emit("Reshape", softmax, shape, what="restored", rank=rank))


RULES = {
    "BiasAdd": _bias_add,
    "BiasGelu": _bias_gelu,
    "BiasSoftmax": _bias_softmax,
    "BiasSplitGelu": _bias_split_gelu,
    "FastGelu": _fast_gelu,
    "Gelu": _gelu,
    "QuickGelu": _quick_gelu,
}
