"""Operators on codes, read as what they do to real numbers: dequantise, compute, and quantise again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from convsv_cli.loaders.onnx.contributed.attention import heads_of, projected
from convsv_cli.loaders.onnx.contributed.convolution import AXES, channels_first, channels_last
from convsv_cli.loaders.onnx.contributed.expansion import Expansion
from convsv_cli.loaders.onnx.signatures import UnreadableNodeError

BY_AXIS, DYNAMIC, AXES_BY_INPUT = 13, 11, 18
"""The operator sets with scales of columns, DynamicQuantizeLinear, and axes of ReduceMean as an input."""


def _real(node: Expansion, codes: str, places: tuple[str, str], what: str, axis: int | None = None) -> str:
    """The numbers that codes with a scale and zero point stand for; `axis` is that of a list of scales."""
    given = [_single(node, each) for each in places if each]
    many = axis is not None and any(node.rank(each) == 1 for each in given)
    if many and node.known.opset < BY_AXIS:
        raise UnreadableNodeError("with scales of columns, which its operator set does not know")
    own: dict[str, Any] = {"axis": axis} if many else {}
    return node.emit("DequantizeLinear", codes, *given, what=what, rank=node.rank(codes), **own)


def _single(node: Expansion, name: str) -> str:
    """A list of one number as a number."""
    tensor = node.known.tensors.get(name)
    if tensor is None or tuple(tensor.dims) != (1,):
        return name
    return node.emit("Reshape", name, node.whole([]), what="single", rank=0)


def _codes(node: Expansion, numbers: str, scale: int) -> None:
    """The result as codes, of the scale at one input and the zero point at the next."""
    places = [_single(node, name) for name in (node.needed(scale), node.given(scale + 1)) if name]
    node.result(node.emit("QuantizeLinear", numbers, *places, what="codes", rank=node.rank(numbers)))


def _operand(node: Expansion, first: int, what: str, axis: int | None = None) -> str:
    """The numbers of the codes at an input, whose scale and zero point follow."""
    codes, places = node.needed(first), (node.needed(first + 1), node.given(first + 2))
    return _real(node, codes, places, what, axis)


def _binary(op: str, node: Expansion) -> None:
    node.expect(inputs=8)
    first, second = _operand(node, 0, "first"), _operand(node, 3, "second")
    _codes(node, node.emit(op, first, second), 6)


def _unary(op: str, node: Expansion) -> None:
    node.expect(inputs=5)
    _codes(node, node.emit(op, _operand(node, 0, "numbers"), **node.attributes()), 3)


def _softmax(node: Expansion) -> None:
    """Its attribute `opset` says by which operator set; before 13, it is over several axes."""
    node.expect(inputs=5)
    axis = node.attribute("axis", -1)
    if node.attribute("opset", 0) < BY_AXIS and axis != -1:
        raise UnreadableNodeError("over the axes behind one, which convsv does not read")
    _codes(node, node.emit("Softmax", _operand(node, 0, "numbers"), axis=axis), 3)


def _mean(node: Expansion) -> None:
    node.expect(inputs=5)
    numbers, axes, kept = (
        _operand(node, 0, "numbers"),
        node.attribute("axes", ()),
        node.attribute("keepdims", 1),
    )
    if node.known.opset < AXES_BY_INPUT:
        found = node.emit("ReduceMean", numbers, axes=list(axes), keepdims=kept)
    else:
        found = node.emit("ReduceMean", numbers, node.whole(axes), keepdims=kept)
    _codes(node, found, 3)


def _concatenated(node: Expansion) -> None:
    """Of triples behind the scale and zero point of the result."""
    count = (len(node.node.input) - 2) // 3
    node.expect(inputs=2 + 3 * count)
    parts = [_operand(node, 2 + 3 * index, f"part {index}") for index in range(count)]
    _codes(node, node.emit("Concat", *parts, axis=node.attribute("axis", 0)), 0)


def _pooled(node: Expansion) -> None:
    node.expect(inputs=5)
    axes, last = len(node.attribute("kernel_shape", ())), node.flag("channels_last")
    numbers = _operand(node, 0, "numbers")
    source = channels_first(node, numbers, axes) if last else numbers
    found = node.emit("AveragePool", source, rank=axes + 2, **node.attributes("channels_last"))
    _codes(node, channels_last(node, found, axes) if last else found, 3)


def _convolved(node: Expansion) -> None:
    """QLinearConv: ONNX's own, but that the input and the result may have their channels last."""
    node.expect(inputs=9)
    shape, last = node.stored(node.needed(3)), node.flag("channels_last")
    if not 2 < len(shape) <= 2 + len(AXES):
        raise UnreadableNodeError("whose kernel is none")
    axes, inputs = len(shape) - 2, list(node.node.input)
    if last:
        inputs[0] = channels_first(node, inputs[0], axes)
    found = node.emit("QLinearConv", *inputs, rank=axes + 2, **node.attributes("channels_last"))
    node.result(channels_last(node, found, axes) if last else found)


def _pooled_whole(node: Expansion) -> None:
    node.expect(inputs=5)
    if node.flag("channels_last"):
        raise UnreadableNodeError("whose channels are last")
    _codes(node, node.emit("GlobalAveragePool", _operand(node, 0, "numbers")), 3)


def _gemm(node: Expansion) -> None:
    """The sum has the scale of the product; without a scale of the result, that is real numbers."""
    node.expect(inputs=9)
    turned = node.flag("transB")
    first, second = _operand(node, 0, "first"), _operand(node, 3, "second", 0 if turned else 1)
    found = node.emit("Gemm", first, second, rank=2, **node.attributes())
    if node.given(6):
        scale = node.emit("Mul", node.needed(1), node.needed(4), what="scale", rank=1)
        counts = node.emit("Cast", node.given(6), what="counts", to=1, rank=1)
        bias = node.times(node.emit("Mul", counts, scale, what="bias", rank=1), node.attribute("alpha", 1.0))
        found = node.plus(found, bias, "sum")
    if node.given(7):
        _codes(node, found, 7)
    else:
        node.result(found)


def _to_float(node: Expansion) -> None:
    """MatMulIntegerToFloat: a product of codes as real numbers, and a bias."""
    node.expect(inputs=7)
    first = _real(node, node.needed(0), (node.needed(2), node.given(4)), "first")
    second = _real(node, node.needed(1), (node.needed(3), node.given(5)), "second", 1)
    node.result(node.plus(node.emit("MatMul", first, second), node.given(6), "sum"))


def _dynamic(node: Expansion) -> None:
    """DynamicQuantizeMatMul: the same, of real numbers with a scale of their own each time."""
    node.expect(inputs=5)
    if node.known.opset < DYNAMIC:
        raise UnreadableNodeError("in an operator set without DynamicQuantizeLinear")
    codes, scale, zero = node.quantised(node.needed(0))
    first = _real(node, codes, (scale, zero), "first")
    second = _real(node, node.needed(1), (node.needed(2), node.given(3)), "second", 1)
    node.result(node.plus(node.emit("MatMul", first, second), node.given(4), "sum"))


def _attention(node: Expansion) -> None:
    """QAttention: the Attention of the real numbers."""
    node.expect(inputs=8)
    node.refuse("do_rotary", "past_present_share_buffer")
    shape = node.stored(node.needed(1))
    heads = heads_of(node, "num_heads")
    if len(shape) != 2 or shape[1] % (3 * heads):
        raise UnreadableNodeError("whose weights do not fit its heads")
    source = _real(node, node.needed(0), (node.needed(3), node.given(6)), "numbers")
    matrix = _real(node, node.needed(1), (node.needed(4), node.given(7)), "weights", 1)
    projected(node, source, (matrix, node.given(2)), (shape[1] // 3,) * 3, mask=node.given(5))


RULES: dict[str, Callable[[Expansion], None]] = {
    "DynamicQuantizeMatMul": _dynamic,
    "MatMulIntegerToFloat": _to_float,
    "QAttention": _attention,
    "QGemm": _gemm,
    "QLinearAdd": partial(_binary, "Add"),
    "QLinearAveragePool": _pooled,
    "QLinearConcat": _concatenated,
    "QLinearConv": _convolved,
    "QLinearGlobalAveragePool": _pooled_whole,
    "QLinearLeakyRelu": partial(_unary, "LeakyRelu"),
    "QLinearMul": partial(_binary, "Mul"),
    "QLinearReduceMean": _mean,
    "QLinearSigmoid": partial(_unary, "Sigmoid"),
    "QLinearSoftmax": _softmax,
}
