"""What llama.cpp calls layers, and what Hugging Face's models do."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
