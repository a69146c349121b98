"""Rotary embeddings: pairs of entries turned by angles of their positions."""

from __future__ import annotations

from typing import Any

from convsv_cli.loaders.onnx.contributed.expansion import Expansion
from convsv_cli.loaders.onnx.signatures import UnreadableNodeError

TOKENS = 3
"""Axes of an input whose heads are parts of the last one."""
HEADS = 4


def turned(node: Expansion, name: str, caches: tuple[str, str], length: int, *, interleaved: bool) -> str:
    """A tensor [batch, length, heads, size] whose tokens are at the positions 0, 1, ..."""
    first = node.permuted(name, "bshd", "bhsd")
    angles = [node.reshaped(node.sliced(cache, 0, length, 0), [1, length, -1], "angles") for cache in caches]
    shape = node.emit("Shape", name, what="shape", rank=1)
    batch = node.emit("Gather", shape, node.whole([0]), what="batch", rank=1)
    sizes = node.emit("Concat", batch, node.whole([1, 1]), what="sizes", rank=1, axis=0)
    spread = [node.emit("Expand", each, sizes, what="spread", rank=3) for each in angles]
    found = node.emit("RotaryEmbedding", first, *spread, rank=HEADS, interleaved=int(interleaved))
    return node.permuted(found, "bhsd", "bshd")


def _rotary(node: Expansion) -> None:
    """RotaryEmbedding of onnxruntime, in which the positions come before the tables."""
    node.expect(inputs=4)
    node.refuse("is_packed_batching")
    if node.attribute("scale", 1.0) != 1:
        raise UnreadableNodeError("whose angles are scaled")
    source, positions, *tables = (node.needed(index) for index in range(4))
    rank, heads = node.rank(source), node.attribute("num_heads", 0)
    if rank is None or node.rank(positions) != 2:
        raise UnreadableNodeError("whose input or positions have an unknown number of axes, or one")
    own: dict[str, Any] = {
        "interleaved": int(node.flag("interleaved")),
        "rotary_embedding_dim": node.attribute("rotary_embedding_dim", 0),
    }
    if rank == TOKENS and not heads:
        size = 2 * node.stored(tables[0])[1]
        parts = node.permuted(node.reshaped(source, [0, 0, -1, size]), "bshd", "bhsd")
        found = node.emit("RotaryEmbedding", parts, *tables, positions, rank=HEADS, **own)
        node.result(node.reshaped(node.permuted(found, "bhsd", "bshd"), [0, 0, -1]))
        return
    if rank == TOKENS:
        own["num_heads"] = heads
    node.result(node.emit("RotaryEmbedding", source, *tables, positions, rank=rank, **own))


RULES = {"RotaryEmbedding": _rotary}
