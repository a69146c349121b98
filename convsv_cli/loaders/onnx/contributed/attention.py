"""Attention of several heads, written out as it was before it was fused: softmax(scale Q K^T + masks) V."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from convsv_cli.loaders.onnx.contributed.expansion import Expansion
from convsv_cli.loaders.onnx.contributed.rotary import turned
from convsv_cli.loaders.onnx.signatures import UnreadableNodeError

RANGE, UNSQUEEZED_BY_INPUTS = 11, 13
"""The operator sets in which Range came, and in which the axes of Unsqueeze became an input."""
MASKED = -10000.0
"""Default of mask_filter_value."""
RAW, SQUARE = 2, 3
"""Axes of masks with a number for each key, and for each query and key."""
PAST = "with keys or values of earlier tokens, which convsv does not read"


def _attention(node: Expansion) -> None:
    """Of one input, by one matrix whose columns are those of Q, K and V."""
    node.expect(inputs=6, absent=(4,))
    node.refuse("do_rotary", "past_present_share_buffer", "rotary_embedding_dim")
    _, width = _matrix(node)
    sizes = node.attribute("qkv_hidden_sizes", (width // 3,) * 3)
    heads = heads_of(node, "num_heads")
    if len(sizes) != 3 or sum(sizes) != width or any(size % heads or size < 1 for size in sizes):
        raise UnreadableNodeError("whose hidden sizes do not fit its weights")
    projected(
        node, node.needed(0), (node.needed(1), node.given(2)), sizes, mask=node.given(3), bias=node.given(5)
    )


def projected(
    node: Expansion,
    source: str,
    weights: tuple[str, str],
    sizes: Sequence[int],
    *,
    mask: str,
    bias: str = "",
) -> None:
    """The attention of a tensor whose Q, K and V are by parts of one matrix and one bias, of these sizes."""
    tokens, ends = node.permuted(source, "bsd", "bsd"), np.cumsum([0, *sizes]).tolist()
    heads, parts = heads_of(node, "num_heads"), []
    for index, what in enumerate(("query", "key", "value")):
        start, stop = ends[index : index + 2]
        product = node.emit("MatMul", tokens, node.sliced(weights[0], start, stop, 1), what=what, rank=3)
        added = node.sliced(weights[1], start, stop, 0) if weights[1] else ""
        size = sizes[index] // heads
        parts.append(node.reshaped(node.plus(product, added, f"{what}/bias"), [0, 0, heads, size]))
    _finish(node, parts, mask=mask, bias=bias, scale=1 / math.sqrt(sizes[0] // heads))


def _matrix(node: Expansion) -> tuple[int, int]:
    shape = node.stored(node.needed(1))
    if len(shape) != 2:
        raise UnreadableNodeError("whose weights are no matrix")
    return shape[0], shape[1]


def heads_of(node: Expansion, name: str) -> int:
    """An attribute that counts heads."""
    heads = node.attribute(name, 0)
    if heads < 1:
        raise UnreadableNodeError(f"whose {name} are {heads}")
    return heads


def _multi_head(node: Expansion) -> None:
    """Of Q, K and V, to which the parts of one bias may be added."""
    node.expect(inputs=6, outputs=(0, 1, 2))
    heads, bias = heads_of(node, "num_heads"), node.given(3)
    if not node.given(1) or not node.given(2):
        parts = _packed(node, heads, bias)
    else:
        parts = [node.permuted(node.needed(index), "bsd", "bsd") for index in range(3)]
        if bias:
            (total,) = node.stored(bias)
            thirds = [node.sliced(bias, total * i // 3, total * (i + 1) // 3, 0) for i in range(3)]
            parts = [node.plus(part, third, "bias") for part, third in zip(parts, thirds, strict=True)]
        parts = [node.reshaped(part, [0, 0, heads, -1]) for part in parts]
    for index in (1, 2):
        if node.asked_for(index):
            node.result(node.permuted(parts[index], "bshd", "bhsd"), index)
    _finish(node, parts, mask=node.given(4), bias=node.given(5))


def _packed(node: Expansion, heads: int, bias: str) -> list[str]:
    """Parts of one tensor [batch, length, heads, 3, size], or of one for Q and another for K and V."""
    if bias or node.given(2):
        raise UnreadableNodeError(
            "with a bias for packed queries, keys and values, which convsv does not read"
        )
    if not node.given(1):
        return _split(node, node.needed(0), 3)
    query = node.reshaped(node.permuted(node.needed(0), "bsd", "bsd"), [0, 0, heads, -1])
    return [query, *_split(node, node.given(1), 2)]


def _split(node: Expansion, name: str, count: int) -> list[str]:
    whole = node.permuted(name, "bshcd", "bshcd")
    parts = [node.sliced(whole, index, index + 1, 3) for index in range(count)]
    turns = [node.permuted(part, "bshcd", "bshdc") for part in parts]
    return [node.reshaped(part, [0, 0, 0, -1]) for part in turns]


def _grouped_query(node: Expansion) -> None:
    """Of a prompt without padding, causal as a rule, in which several heads of Q share one of K and V."""
    node.expect(inputs=11, outputs=(0, 1, 2), absent=(3, 4, 10))
    node.refuse("sliding_window_cache", "kv_cache_bit_width", "qk_output")
    window, cap = _options(node)
    heads, shared = heads_of(node, "num_heads"), heads_of(node, "kv_num_heads")
    last, total = set(node.numbers(node.needed(5))), node.numbers(node.needed(6))
    if heads % shared or len(total) != 1 or last != {total[0] - 1} or total[0] < 1:
        raise UnreadableNodeError("whose sequences have padding, or earlier tokens")
    parts = _queries(node, heads, shared, total[0])
    for index in (1, 2):
        if node.asked_for(index):
            node.result(node.permuted(parts[index], "bshd", "bhsd"), index)
    if heads > shared:
        each = heads // shared
        parts = [node.reshaped(parts[0], [0, 0, shared, each, -1])] + [
            node.reshaped(part, [0, 0, shared, 1, -1]) for part in parts[1:]
        ]
    _finish(node, parts, causal=node.flag("causal", default=True), window=window, cap=cap)


def _options(node: Expansion) -> tuple[int, float]:
    """How many keys a query sees, itself included, 0 for all before it; and what scores are capped at."""
    window, cap = node.attribute("local_window_size", -1), node.attribute("softcap", 0.0)
    if node.attribute("smooth_softmax", -1) > 0:
        raise UnreadableNodeError("which has a softmax of its own")
    if window == 0 or window < -1 or (window > 0 and not node.flag("causal", default=True)):
        raise UnreadableNodeError("which has a window that convsv does not read")
    if not 0 <= cap < math.inf:
        raise UnreadableNodeError(f"whose softcap is {cap}, which convsv does not read")
    if any(node.attribute(f"{part}_quant_type", "NONE") != "NONE" for part in "kv"):
        raise UnreadableNodeError(PAST)
    return max(window, 0), cap


def _queries(node: Expansion, heads: int, shared: int, length: int) -> list[str]:
    """Q, K and V, [batch, length, heads, size], of which Q and K may be turned by their positions."""
    if node.given(1):
        counts = (heads, shared, shared)
        flat = [node.permuted(node.needed(index), "bsd", "bsd") for index in range(3)]
        parts = [node.reshaped(f, [0, length, n, -1]) for f, n in zip(flat, counts, strict=True)]
    else:
        whole = node.permuted(node.needed(0), "bsd", "bsd")
        whole = node.reshaped(whole, [0, length, heads + 2 * shared, -1])
        ends = (0, heads, heads + shared, heads + 2 * shared)
        parts = [node.sliced(whole, ends[index], ends[index + 1], 2) for index in range(3)]
    if not node.flag("do_rotary"):
        return parts
    if node.given(9):
        raise UnreadableNodeError("whose positions are given")
    caches, pairs = (node.needed(7), node.needed(8)), node.flag("rotary_interleaved")
    return [turned(node, part, caches, length, interleaved=pairs) for part in parts[:2]] + parts[2:]


def _finish(
    node: Expansion,
    parts: Sequence[str],
    *,
    mask: str = "",
    bias: str = "",
    scale: float = 0.0,
    causal: bool | None = None,
    window: int = 0,
    cap: float = 0.0,
) -> None:
    """The attention of Q, K and V, [batch, length, ..., size]; without a scale, it follows from Q's shape."""
    middle = "hg"[: (node.rank(parts[0]) or 4) - 3]
    before, heads_first = f"bs{middle}d", f"b{middle}sd"
    query, value = (node.permuted(part, before, heads_first) for part in (parts[0], parts[2]))
    key = node.permuted(parts[1], before, f"b{middle}ds")
    rank = 3 + len(middle)
    scores = node.emit("MatMul", query, key, what="scores", rank=rank)
    given = node.attribute("scale", 0.0) or scale
    scores = node.times(scores, given) if given else _scaled(node, scores, query)
    if cap:
        capped = node.emit("Div", scores, node.real(cap), what="capped", rank=rank)
        scores = node.times(node.emit("Tanh", capped, what="tanh", rank=rank), cap)
    if mask:
        scores = node.plus(scores, _additive(node, mask), "masked")
    scores = node.plus(scores, bias, "biased")
    if causal is None:
        causal = node.flag("unidirectional")
    if causal:
        scores = _causal(node, scores, window)
    weights = node.emit("Softmax", scores, what="weights", rank=rank, axis=-1)
    found = node.permuted(node.emit("MatMul", weights, value, rank=rank), heads_first, before)
    node.result(node.reshaped(found, [0, 0, -1]))


def _scaled(node: Expansion, scores: str, query: str) -> str:
    """Divided by the square root of the size of a head."""
    shape = node.emit("Shape", query, what="shape", rank=1)
    size = node.emit("Gather", shape, node.whole([(node.rank(query) or 4) - 1]), what="size", rank=1)
    real = node.emit("Cast", size, what="real", rank=1, to=_kind(node))
    root = node.emit("Sqrt", real, what="root", rank=1)
    return node.emit("Div", scores, root, what="scaled", rank=node.rank(scores))


def _kind(node: Expansion) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(node.known.real))


def _additive(node: Expansion, mask: str) -> str:
    """Zero where a mask of whole numbers has one, and a large negative number where it has zero."""
    rank = node.rank(mask)
    if rank == RAW:
        mask = node.reshaped(mask, [0, 1, 1, -1], "mask")
    elif rank == SQUARE and node.known.opset >= UNSQUEEZED_BY_INPUTS:
        mask = node.emit("Unsqueeze", mask, node.whole([1]), what="mask", rank=4)
    else:
        raise UnreadableNodeError("whose mask is of a form that convsv does not read")
    keep = node.emit("Cast", mask, what="keep", rank=4, to=TensorProto.BOOL)
    values = (0.0, node.attribute("mask_filter_value", MASKED))
    return node.emit("Where", keep, *map(node.real, values), what="filter", rank=4)


def _causal(node: Expansion, scores: str, window: int) -> str:
    """Scores, but the lowest number where a key comes after the query, or a window or more before it."""
    if node.known.opset < RANGE:
        raise UnreadableNodeError("which is causal, in an operator set without Range")
    shape, rank = node.emit("Shape", scores, what="shape", rank=1), node.rank(scores) or 4
    counts = [node.emit("Gather", shape, node.whole(rank - back), what="length", rank=0) for back in (2, 1)]
    rows, columns = (
        node.emit("Range", node.whole(0), count, node.whole(1), what="places", rank=1) for count in counts
    )
    rows = node.reshaped(rows, [-1, 1])
    hidden = node.emit("Less", rows, columns, what="later", rank=2)
    if window:
        last = node.emit("Add", columns, node.whole(window - 1), what="last", rank=1)
        earlier = node.emit("Less", last, rows, what="earlier", rank=2)
        hidden = node.emit("Or", hidden, earlier, what="hidden", rank=2)
    lowest = node.real(np.finfo(np.float32).min if node.known.real.itemsize > 2 else -65504.0)
    return node.emit("Where", hidden, lowest, scores, what="causal", rank=rank)


RULES = {
    "Attention": _attention,
    "GroupQueryAttention": _grouped_query,
    "MultiHeadAttention": _multi_head,
}
