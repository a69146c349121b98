"""Rows of queries and keys, which llama.cpp's converter reorders for some architectures, in their old order.

Of each head, Hugging Face's rotary embedding turns row i with row i + n / 2, llama.cpp's row 2 i with row 2
i + 1; so the converter puts [2, n / 2] rows as [n / 2, 2] (`LlamaModel.permute` in conversion of
llama.cpp). No norm sees that, but a difference of weights does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.model.layer import CONVERTED_ORDER

REORDERED = frozenset((
    "llama", "granite", "granitemoe", "minicpm", "olmo", "internlm2", "xverse", "arcee",
))  # fmt: skip
KEPT = frozenset((
    "bert", "bloom", "command-r", "deepseek2", "falcon", "gemma", "gemma2", "gemma3", "glm4", "gpt-oss",
    "gpt2", "gptneox", "mpt", "nomic-bert", "olmo2", "phi2", "phi3", "qwen", "qwen2", "qwen2moe", "qwen3",
    "qwen3moe", "stablelm", "starcoder2", "t5",
))  # fmt: skip
"""Architectures whose rows are as they were."""
BACK = "rows of queries and keys are put back into the order that they had before conversion"
_TURNED = re.compile(r"blk\.\d+\.attn_([qk])\.weight")


def in_order(name: str, tensor: StoredTensor, pairs: Mapping[str, Any]) -> StoredTensor:
    """The tensor, with its rows in their old order where that is known; else it says that they may not be.

    Args:
        name: of the tensor.
        tensor: as it is stored.
        pairs: keys and values of the file.
    """
    kind, turned = pairs.get("general.architecture"), _TURNED.fullmatch(name)
    if turned is None or kind in KEPT or len(tensor.shape) != 2:
        return tensor
    queries = pairs.get(f"{kind}.attention.head_count")
    keys = pairs.get(f"{kind}.attention.head_count_kv", queries)
    heads, rows = (queries if turned[1] == "q" else keys), tensor.shape[0]
    if kind not in REORDERED or type(heads) is not int or heads < 1 or rows % (2 * heads):
        return replace(tensor, assumed=(*tensor.assumed, CONVERTED_ORDER))

    def read() -> torch.Tensor:
        stored = tensor.read()
        return stored.reshape(heads, rows // heads // 2, 2, -1).transpose(1, 2).reshape(stored.shape)

    return replace(tensor, read=read, assumed=(*tensor.assumed, BACK))
