"""Linear maps, products of activations, and attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import TensorProto

from convsv_cli.loaders.pt2.translation.writer import Build, Call, UntranslatedError
from convsv_cli.model.layer import CONV, TRANSPOSED


def _linear(call: Call) -> str:
    weight = call.transposed(call.tensor("weight"), (1, 0))
    made = call.emit("MatMul", call.tensor("input"), weight)
    return call.emit("Add", made, call.tensor("bias")) if call.has("bias") else made


def _product(second: str) -> Build:
    return lambda call: call.emit("MatMul", call.tensor(), call.tensor(second))


def _added_product(first: str, second: str) -> Build:
    """Beta self + alpha first second."""

    def build(call: Call) -> str:
        kind, alpha, beta = call.kind(), call.number("alpha", 1), call.number("beta", 1)
        made = call.emit("MatMul", call.tensor(first), call.tensor(second))
        added = call.tensor()
        if not beta:
            return call.emit("Mul", made, call.scalar(alpha, kind))
        made = made if alpha == 1 else call.emit("Mul", made, call.scalar(alpha, kind))
        added = added if beta == 1 else call.emit("Mul", added, call.scalar(beta, kind))
        return call.emit("Add", made, added)

    return build


def _per_axis(call: Call, name: str, axes: int, default: int) -> tuple[int, ...]:
    """A setting of a convolution, one for all axes or one each."""
    given = call.wholes(name, (default,))
    if len(given) not in (1, axes):
        raise UntranslatedError(f"its {name} has {len(given)} entries for {axes} axes")
    return given * axes if len(given) == 1 else given


def _convolution(call: Call) -> str:
    """Every form of it: forward, transposed, with a padding in words; without a batch, too."""
    axes = len(call.shape("weight")) - 2
    name = call.node.target
    data, alone = call.tensor("input"), len(call.shape("input")) == axes + 1
    if alone:
        data = call.reshaped(data, (1, *call.shape("input")))
    stride, dilation = _per_axis(call, "stride", axes, 1), _per_axis(call, "dilation", axes, 1)
    common = {"strides": stride, "dilations": dilation, "group": call.whole("groups", 1)}
    inputs = [data, call.tensor("weight"), *([call.tensor("bias")] if call.has("bias") else [])]
    if call.flag("transposed") or "conv_transpose" in name:
        padding = _per_axis(call, "padding", axes, 0) * 2
        extra = _per_axis(call, "output_padding", axes, 0)
        made = call.emit(TRANSPOSED, *inputs, pads=padding, output_padding=extra, **common)
    else:
        made = call.emit(CONV, *inputs, pads=_pads(call, axes, dilation), **common)
    return call.reshaped(made, call.result_shape()) if alone else made


def _pads(call: Call, axes: int, dilation: Sequence[int]) -> tuple[int, ...]:
    """At the beginnings of all axes, then at their ends."""
    word = call.text("padding")
    if not word:
        return _per_axis(call, "padding", axes, 0) * 2
    if word == "valid":
        return (0,) * (2 * axes)
    totals = [d * (size - 1) for d, size in zip(dilation, call.shape("weight")[2:], strict=True)]
    return (*(total // 2 for total in totals), *(total - total // 2 for total in totals))


def _einsum(call: Call) -> str:
    return call.emit("Einsum", *call.tensors("tensors"), equation=call.text("equation").replace(" ", ""))


def _outer(call: Call) -> str:
    first = call.reshaped(call.tensor(), (*call.shape(), 1))
    return call.emit("Mul", first, call.tensor("vec2"))


def _bilinear(call: Call) -> str:
    """x1^T W x2 + b, for each output."""
    made = call.emit(
        "Einsum",
        call.tensor("input1"),
        call.tensor("weight"),
        call.tensor("input2"),
        equation="...i,oij,...j->...o",
    )
    return call.emit("Add", made, call.tensor("bias")) if call.has("bias") else made


def _attention(call: Call) -> str:
    """softmax(scale q k^T + mask) v."""
    if call.number("dropout_p", 0.0):
        raise UntranslatedError("attention with dropout in training")
    kind, (*_, length, width) = call.kind("query"), call.shape("query")
    keys = call.shape("key")
    query, key, value = (call.tensor(name) for name in ("query", "key", "value"))
    if call.flag("enable_gqa"):
        times = call.shape("query")[-3] // keys[-3]
        key, value = (_each_repeated(call, name, times) for name in ("key", "value"))
    rank = len(keys)
    turned = call.transposed(key, (*range(rank - 2), rank - 1, rank - 2))
    scale = call.number("scale", 1 / math.sqrt(width))
    scores = call.emit("Mul", call.emit("MatMul", query, turned), call.scalar(scale, kind))
    scores = _masked(call, scores, kind, (length, keys[-2]))
    return call.emit("MatMul", call.emit("Softmax", scores, axis=-1), value)


def _each_repeated(call: Call, name: str, times: int) -> str:
    """Every head of keys or values as often as queries share it."""
    *batch, heads, length, width = call.shape(name)
    apart = call.reshaped(call.tensor(name), (*batch, heads, 1, length, width))
    repeated = call.emit("Expand", apart, call.integers(*batch, heads, times, length, width))
    return call.reshaped(repeated, (*batch, heads * times, length, width))


def _masked(call: Call, scores: str, kind: int, sizes: tuple[int, int]) -> str:
    if call.flag("is_causal"):
        call.writer.room(*sizes)
        mask = np.where(np.tri(*sizes, dtype=bool), 0.0, -np.inf)
        return call.emit("Add", scores, call.writer.constant(mask, kind, "causal"))
    if not call.has("attn_mask"):
        return scores
    if call.kind("attn_mask") != TensorProto.BOOL:
        return call.emit("Add", scores, call.operand("attn_mask", kind))
    return call.emit("Where", call.tensor("attn_mask"), scores, call.scalar(-np.inf, kind))


def _cosine(call: Call) -> str:
    """x1 x2 / max(|x1|, eps) / max(|x2|, eps)."""
    kind, shape = call.kind(), call.shape("x1")
    axis = call.axis("dim", len(shape), 1)
    if call.shape("x2") != shape:
        raise UntranslatedError("a cosine similarity of tensors of two shapes")
    shorter = []
    for name in ("x1", "x2"):
        x = call.tensor(name)
        length = call.emit("ReduceL2", x, call.integers(axis), keepdims=1)
        shorter.append(
            call.emit("Div", x, call.emit("Max", length, call.scalar(call.number("eps", 1e-8), kind)))
        )
    return call.emit("ReduceSum", call.emit("Mul", *shorter), call.integers(axis), keepdims=0)


_convolutions: Mapping[str, Callable[[Call], str]] = dict.fromkeys(
    ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"),
    _convolution,
)
BUILDS: Mapping[str, Build] = {
    **_convolutions,
    "linear": _linear,
    "matmul": _product("other"),
    "mm": _product("mat2"),
    "bmm": _product("mat2"),
    "mv": _product("vec"),
    "dot": _product("tensor"),
    "addmm": _added_product("mat1", "mat2"),
    "baddbmm": _added_product("batch1", "batch2"),
    "addmv": _added_product("mat", "vec"),
    "einsum": _einsum,
    "outer": _outer,
    "bilinear": _bilinear,
    "scaled_dot_product_attention": _attention,
    "cosine_similarity": _cosine,
}
