"""Matrices that are stored as [in, out]: those of Hugging Face's `Conv1D`, of which GPT-2 is made.

Their norms are those of [out, in], but rows are easier to read so, and compare with other files of the same
model. What tells is the bias, which has an entry for each output; of a square matrix, that other layers of
these names are so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.model.home import Home
from convsv_cli.model.layer import Geometry

LAYERS = frozenset(("c_attn", "c_fc", "c_proj", "q_attn"))
"""What GPT-2 and its relatives call such layers; others call layers of torch's Linear so."""
TURNED = "stored as [in, out], as Hugging Face's Conv1D is, judging by its bias"
AS_OTHERS = "stored as [in, out], as the other layers of Hugging Face's Conv1D in the file"


def oriented(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors, with the matrices that are stored as [in, out] as [out, in]."""
    told = {name: _is_turned(name, tensors) for name in tensors if _may_be(name, tensors[name])}
    others = True in told.values() and False not in told.values()
    found = dict(tensors)
    for name, turned in told.items():
        if turned or (turned is None and others):
            found[name] = _turned(tensors[name], TURNED if turned else AS_OTHERS)
    return found


def _may_be(name: str, tensor: StoredTensor) -> bool:
    *_, layer, last = ("", *name.split("."))
    is_matrix = len(tensor.shape) == 2 and (tensor.usage is None or tensor.usage.geometry == Geometry())
    return last == "weight" and layer in LAYERS and is_matrix


def _is_turned(name: str, tensors: Mapping[str, StoredTensor]) -> bool | None:
    """Whether it is [in, out]; None where its bias does not say."""
    bias = tensors.get(name.removesuffix("weight") + "bias")
    rows, columns = tensors[name].shape
    if bias is None or rows == columns or bias.shape not in ((rows,), (columns,)):
        return None
    return bias.shape == (columns,)


def _turned(tensor: StoredTensor, why: str) -> StoredTensor:
    def home() -> Home:
        inner = tensor.home()
        return replace(
            inner,
            split=lambda weight: inner.split(weight.T.contiguous()),
            join=lambda *parts: inner.join(*parts).T,
        )

    return replace(
        tensor,
        shape=tensor.shape[::-1],
        read=lambda: tensor.read().T,
        assumed=(*tensor.assumed, why),
        home=home,
    )
