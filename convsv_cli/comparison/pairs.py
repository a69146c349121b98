"""Which layer of a new audit is which of an old one, where llama.cpp and Hugging Face name it, too."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from convsv_cli.names import counterparts, says_nothing
from convsv_cli.report import AUDITED, Audit, LayerAudit
from convsv_cli.report.comparison import BY_NAME, BY_SHAPE, BY_WEIGHT

Rows = Sequence[LayerAudit]
Rule = Callable[[Rows, Rows], list[tuple[LayerAudit, LayerAudit]]]
LLAMA_CPP = "gguf"
"""The format in which layers have llama.cpp's names."""
_NUMBERED = re.compile(r"(?:^|\.)\d+(?:\.|$)")
_LLAMA = {
    "token_embd": "model.embed_tokens",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_b": "self_attn.kv_b_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
_PHI3 = _LLAMA | {"ffn_up": "mlp.gate_up_proj"}
_MIXTRAL = _LLAMA | {"ffn_gate_inp": "block_sparse_moe.gate"}
_GPT2 = {
    "token_embd": "wte",
    "position_embd": "wpe",
    "output": "lm_head",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_LAYERS = "model.layers.{}."
DIALECTS = ((_LAYERS, _LLAMA), (_LAYERS, _PHI3), (_LAYERS, _MIXTRAL), ("h.{}.", _GPT2))
"""What stands before the names of a block's layers, and these."""
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A layer before and after; None where it was added or removed.

    Attributes:
        by: how they were recognised: `BY_NAME` (wrappers aside), `BY_WEIGHT`, or `BY_SHAPE`, which is a
            guess; empty where they were not.
        candidates: of a layer that was not, the old ones of which it may be one, or none: those of as many
            entries, as transposing and reshaping leave it at that.
        same_file: whether both are of one file.
    """

    old: LayerAudit | None = None
    new: LayerAudit | None = None
    by: str = ""
    candidates: tuple[LayerAudit, ...] = ()
    same_file: bool = False

    @property
    def renamed(self) -> bool:
        """Whether it has another name now, and not only other wrappers."""
        return (
            self.old is not None
            and self.new is not None
            and self.by != BY_NAME
            and self.old.name != self.new.name
        )

    @property
    def same_map(self) -> bool:
        """Whether weight and geometry are known to be the same, so that the norm is."""
        if self.old is None or self.new is None or geometry(self.old) != geometry(self.new):
            return False
        if not self.old.weight_sha256:  # of an early version of convsv
            known = self.old.status == AUDITED and bool(self.new.weight_sha256)
            return known and self.same_file and self.old.name == self.new.name
        return self.old.weight_sha256 == self.new.weight_sha256


def pairs(old: Audit, new: Audit) -> tuple[Pair, ...]:
    """All layers of both audits, each once: those of the new one in its order, then those that were removed.

    Layers of one name belong together; of the others, those whose weights are the same, and no third's; of
    what is left, those of one shape, in their order, where there are as many of it before and after. Names
    with numbers come first only where the shapes agree: a layer that is put in moves those after it.
    """
    found: dict[str, Pair] = {}
    left = list(old.layers)
    by_name = partial(_by_name, _translations(old, new))
    for by, rule in (
        (BY_NAME, partial(_by_certain_name, by_name)),
        (BY_WEIGHT, _by_weight),
        (BY_SHAPE, _by_shape),
        (BY_NAME, by_name),
    ):
        come = [row for row in new.layers if row.name not in found]
        matches = rule(left, come)
        found |= {
            row.name: Pair(old=before, new=row, by=by, same_file=same_model(old, new))
            for before, row in matches
        }
        met = {id(before) for before, _ in matches}
        left = [row for row in left if id(row) not in met]
    sizes = {size: tuple(rows) for size, rows in _by(_entries, left).items() if size}
    added = {
        row.name: Pair(new=row, candidates=sizes.get(_entries(row), ()))
        for row in new.layers
        if row.name not in found
    }
    every = found | added
    return (*(every[row.name] for row in new.layers), *(Pair(old=row) for row in left))


def same_model(old: Audit, new: Audit) -> bool:
    """Whether both are of the same files, bit for bit."""
    known = bool(old.model.sha256) and len(old.model.files) == len(new.model.files)
    return known and old.model.sha256 == new.model.sha256


def geometry(row: LayerAudit) -> tuple[Any, ...]:
    """What makes, with the weight, the linear map on the infinite lattice."""
    return row.kernel_shape, row.stride, row.dilation, row.groups, row.transposed


def _translations(old: Audit, new: Audit) -> Mapping[str, str]:
    """What else llama.cpp's names of layers mean, where one of two models has these."""
    sides = [(audit, [row.name for row in audit.layers]) for audit in (old, new)]
    (theirs, others), (mine, names) = sides if new.model.format == LLAMA_CPP else sides[::-1]
    if mine.model.format != LLAMA_CPP or theirs.model.format == LLAMA_CPP:
        return {}
    return translated(names, others)


def _by_name(translations: Mapping[str, str], gone: Rows, come: Rows) -> list[tuple[LayerAudit, LayerAudit]]:
    """By names that mean something, without wrappers."""
    olds, news = (
        {translations.get(row.name, row.name): row for row in rows if not says_nothing(row.name, row.op)}
        for rows in (gone, come)
    )
    return [(olds[before], news[name]) for name, before in counterparts(olds, news).items()]


def _by_certain_name(by_name: Rule, gone: Rows, come: Rows) -> list[tuple[LayerAudit, LayerAudit]]:
    """By name, but for numbers that now stand for a layer of another shape."""
    return [
        (old, new)
        for old, new in by_name(gone, come)
        if _shape(old) == _shape(new) or not _NUMBERED.search(new.name)
    ]


def _by_weight(gone: Rows, come: Rows) -> list[tuple[LayerAudit, LayerAudit]]:
    """Those that have the same weight, where no other of either has it."""
    olds, news = _alone(gone), _alone(come)
    return [(olds[weight], row) for weight, row in news.items() if weight in olds]


def _by_shape(gone: Rows, come: Rows) -> list[tuple[LayerAudit, LayerAudit]]:
    """Those of one shape, in order, where there are equally many of them."""
    olds, news = _by(_shape, gone), _by(_shape, come)
    return [
        match
        for shape, rows in news.items()
        if shape and len(rows) == len(olds.get(shape, ()))
        for match in zip(olds[shape], rows, strict=True)
    ]


def _by(key: Any, rows: Iterable[LayerAudit]) -> dict[Any, list[LayerAudit]]:  # noqa: ANN401
    groups: dict[Any, list[LayerAudit]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _shape(row: LayerAudit) -> tuple[int, ...]:
    """Of the kernel; a convolution of one tap is the matrix that some exporters make of it."""
    channels, taps = row.kernel_shape[:2], row.kernel_shape[2:]
    return channels if set(taps) <= {1} else row.kernel_shape


def _entries(row: LayerAudit) -> int:
    """Number of the kernel's; 0 where its shape is not known."""
    return math.prod(row.kernel_shape) if row.kernel_shape else 0


def _alone(rows: Rows) -> dict[str, LayerAudit]:
    """By weight, the rows whose weight no other of them has."""
    known = [row for row in rows if row.weight_sha256]
    counts = Counter(row.weight_sha256 for row in known)
    return {row.weight_sha256: row for row in known if counts[row.weight_sha256] == 1}


def translated(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """For each of llama.cpp's names what another library calls the layer; itself where that is not known.

    Args:
        names: of layers, as llama.cpp has them.
        others: of those of the other model, by which the dialect is chosen that has most of them.
    """
    known = {end for other in others for end in _ends(other)}
    forms = [{name: _translated(name, prefix, words) for name in names} for prefix, words in DIALECTS]
    return max(forms, key=lambda form: sum(name in known for name in form.values()))


def _translated(name: str, prefix: str, words: dict[str, str]) -> str:
    block = _BLOCK.fullmatch(name)
    if block is None:
        return words.get(name, name)
    inner = words.get(block[2])
    return name if inner is None else prefix.format(block[1]) + inner


def _ends(name: str) -> tuple[str, str]:
    """The name, and it without the module around it."""
    return name, name.partition(".")[2]
