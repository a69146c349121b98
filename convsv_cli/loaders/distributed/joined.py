"""Tensors that ranks have shares of: joined along the axis along which they are split, by their names.

Megatron's column-parallel layers have their rows split between ranks, and their biases; row-parallel ones
their columns. What is in no such layer is the same on all ranks, or nothing tells how it is split. The order
of rows may differ from that of the whole network, as halves of gated layers are split one by one: norms are
the same in any order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from convsv_cli import limits
from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.distributed.chunks import Chunk, assembled
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.model.layer import RANKS_ORDER

Shares = Mapping[str, StoredTensor]
_COLUMN = re.compile(
    r"(?:.*\.)?(?:query_key_value|query|key_value|(?:c_)?qkv(?:_proj)?|[qkv]_proj|linear_(?:q|kv|qkv|fc1)"
    r"|dense_h_to_4h|gate_proj|up_proj|gate_up_proj|word_embeddings|embed_tokens|lm_head|output_layer)"
    r"\.(?:weight|bias)",
    re.DOTALL,
)
_ROW = re.compile(
    r"(?:.*\.)?(?:\w*attention\.dense|attn\.dense|dense_4h_to_h|linear_proj|linear_fc2|o_proj|out_proj|down_proj)"
    r"\.weight",
    re.DOTALL,
)
_SEVERAL = re.compile(
    r"(?:.*\.)?(?:query_key_value|key_value|(?:c_)?qkv(?:_proj)?|linear_(?:kv|qkv|fc1)|dense_h_to_4h|gate_up_proj)"
    r"\.weight",
    re.DOTALL,
)
"""Of these, some or all are several matrices, of which each rank has a share."""
APART = (
    "{!r}{}: split between ranks in a way that names do not tell, so that its parts have rows, not the whole"
)
RANKS = "joined from {} ranks"
SAME = "ranks have the same values, where the name says that each has a share: which it is, is not known"


def joined(shares: Sequence[Shares], labels: Sequence[str]) -> tuple[dict[str, StoredTensor], list[str]]:
    """The tensors that the ranks have shares of, and notes.

    Args:
        shares: of each rank, by the names that tensors have on all.
        labels: what to call each rank.

    Raises:
        UnreadableModelError: ranks have different tensors.
        LimitError: comparing tensors takes more steps than are left.
    """
    first = shares[0]
    if any(share.keys() != first.keys() for share in shares):
        raise UnreadableModelError("its ranks have different tensors", hint="save the checkpoint again")
    if len(shares) == 1:
        return dict(first), []
    found: dict[str, StoredTensor] = {}
    apart: list[str] = []
    for name in first:
        parts = [share[name] for share in shares]
        whole = _whole(name, parts)
        if whole is not None:
            found[name] = whole
        else:
            apart.append(name)
            found |= {f"{label}.{name}": part for label, part in zip(labels, parts, strict=True)}
    more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
    return found, [APART.format(apart[0], more)] if apart else []


def axis_of(name: str) -> int | None:
    """The axis along which ranks split the tensor of this name; None where it says nothing."""
    return 0 if _COLUMN.fullmatch(name) else 1 if _ROW.fullmatch(name) else None


def _whole(name: str, parts: Sequence[StoredTensor]) -> StoredTensor | None:
    """The tensor of which ranks have these parts; None where that is not known."""
    first, axis = parts[0], axis_of(name)
    if axis is not None and axis < len(first.shape):
        is_shared = len(first.shape) > 1 and _has_copies(name, parts)
        whole = replace(first, unusable=SAME, identity=None) if is_shared else along(parts, axis)
        is_mixed = whole is not None and _SEVERAL.fullmatch(name)
        return replace(whole, assumed=(*whole.assumed, RANKS_ORDER)) if whole and is_mixed else whole
    if len(first.shape) < 2 or any(part.unusable for part in parts):
        return first
    return first if _equal(name, parts) else None


def along(parts: Sequence[StoredTensor], axis: int) -> StoredTensor | None:
    """Parts one after the other along an axis; None where they do not fit."""
    first = parts[0]
    others = {(part.dtype, part.shape[:axis], part.shape[axis + 1 :]) for part in parts}
    if len(others) > 1:
        return None
    chunks, position = [], 0
    for part in parts:
        at = tuple(position * (index == axis) for index in range(len(part.shape)))
        chunks.append(Chunk(offsets=at, sizes=part.shape, read=part.read, place=part.identity))
        position += part.shape[axis]
    whole = assembled((*first.shape[:axis], position, *first.shape[axis + 1 :]), first.dtype, chunks)
    why = next((part.unusable for part in parts if part.unusable), "") or whole.unusable
    return replace(whole, unusable=why, assumed=(*first.assumed, RANKS.format(len(parts))))


def _has_copies(name: str, parts: Sequence[StoredTensor]) -> bool:
    """Whether a part is a copy of the one before it or of the first, such as keys that several ranks need."""
    if any(part.unusable for part in parts):
        return False
    first = previous = parts[0].read()
    limits.spend(2 * len(parts) * first.numel(), lambda: f"comparing {name!r} of all ranks")
    for part in parts[1:]:
        values = part.read()
        if values.any() and (torch.equal(values, previous) or torch.equal(values, first)):
            return True
        previous = values
    return False


def _equal(name: str, parts: Sequence[StoredTensor]) -> bool:
    """Whether all have the same values."""
    first, *others = parts
    if any((part.shape, part.dtype) != (first.shape, first.dtype) for part in others):
        return False
    values = first.read()
    limits.spend(len(parts) * values.numel(), lambda: f"comparing {name!r} of all ranks")
    return all(torch.equal(values, part.read()) for part in others)
