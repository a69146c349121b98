"""What in a state dict is no layer, by its name: tables, and numbers that are only added or select.

Nothing in a state dict says how a tensor is used. So only names count that one kind of thing has by
convention, and only in full: `word_embeddings` is a table; `x_embedder`, `patch_embed.proj`, `bond_embedding`
may as well be matrices. What has a bias is a matrix whatever its name, since no table has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from convsv_cli.loaders.usage import Usage


def _none(op: str, reason: str) -> Usage:
    return Usage(op=op, reason=reason, applicable=False)


TABLE = _none("Gather", "by its name an embedding table: a look-up of integer indices amplifies nothing")
POSITIONS = _none("Gather", "by its name an embedding of positions: looked up or added, it amplifies nothing")
CODEBOOK = _none("Gather", "by its name a codebook: its entries are looked up, nothing is multiplied by them")
ADDED = _none("Add", "by its name a bias: what is added amplifies nothing")
MASK = _none("Where", "by its name a mask of attention: what selects amplifies nothing")
INDEX = _none("Gather", "whole numbers of 64 bits: by their type an index, and no weight")
WEIGHT = re.compile(r"(^|[._])(weight|kernel)((?:_[a-z0-9]+)*)$")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_EMBEDDINGS = r"emb(?:s|ed(?:s|dings?)?)?"
_WHERE = r"(?:abs(?:olute)?_?)?pos(?:itions?|itional)?"
_WHAT = (
    rf"(?:{_WHERE}|words?|sub_?words?|word_?pieces?|tok(?:en)?s?|vocab(?:ulary)?|char(?:acter)?s?|bytes?"
    r"|(?:token_?)?types?|segments?|class(?:es)?|labels?|lang(?:uage)?s?|speakers?|users?|items?|entity"
    r"|relations?|quer(?:y|ies))"
)
_BIAS_TABLE = r"rel(?:ative)?_?(?:pos(?:ition)?|attention|attn)_?bias(?:_?table)?"
_TABLE = re.compile(
    rf"wte|wpe|tok(?:en)?s?|{_BIAS_TABLE}"
    rf"|(?:{_WHAT}_?)?{_EMBEDDINGS}(?:_?(?:tables?|layer))?"
    rf"|{_EMBEDDINGS}_?(?:{_WHAT}|in)"
)
_LIST = re.compile(rf"(?:\w+_)?{_EMBEDDINGS}_?(?:list|tables)")
_POSITIONS = re.compile(
    rf"{_BIAS_TABLE}|(?!rel)(?:[a-z0-9]+_)*?{_WHERE}_?(?:{_EMBEDDINGS}|enc(?:odings?)?|table)"
    r"(?:_(?:table|win(?:dow)?|spatial|temporal|cls|class|[xyzthw]|rows?|cols?))?"
)
_CODEBOOK = re.compile(r"(?:\w+_|_)?codebooks?")
_QUANTISER = re.compile(r"(?:\w+_|_)?(?:codebooks?|quanti[sz]er?s?|vq)(?:_[tb])?")
_ENTRIES = re.compile(rf"{_EMBEDDINGS}(?:_avg)?|ema_\w+|codebooks?")
_MASK = re.compile(r"(?:attn|attention|causal|future)_?mask|tri[lu]")


class Shaped(Protocol):
    """A stored tensor, as far as it matters here."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""

    @property
    def dtype(self) -> str:
        """As torch calls it."""


def is_matrix(names: Sequence[str], tensors: Mapping[str, Shaped]) -> bool:
    """Whether the tensor that has these names has a bias beside it, an entry a row or a column."""
    biases = ((tensors[name], tensors.get(_bias(name))) for name in names)
    return any(bias is not None and bias.shape in {(s,) for s in tensor.shape} for tensor, bias in biases)


def no_layer(names: Sequence[str], tensors: Mapping[str, Shaped]) -> Usage | None:
    """What a tensor that has these names is instead of a layer; None where it may be one.

    Of tied tensors all names must say so: a table that is the last layer's matrix, too, is a layer.
    """
    found = [_by_name(name, tensors[name]) for name in names]
    return None if None in found or is_matrix(names, tensors) else found[0]


def _bias(name: str) -> str:
    return WEIGHT.sub(r"\1bias\3", name)


def _by_name(name: str, tensor: Shaped) -> Usage | None:
    path = [_HUMP.sub("_", part).lower() for part in name.split(".")]
    if WEIGHT.search(name):
        return _of_weight(path) if len(tensor.shape) == 2 else None
    return _of_parameter(path, tensor)


def _of_weight(path: list[str]) -> Usage | None:
    """Of a matrix that is called a weight: the last module, or list of modules, tells what it is."""
    *_, outer, owner = ("", "", *_owners(path))
    if _CODEBOOK.fullmatch(owner) or (_QUANTISER.fullmatch(outer) and _ENTRIES.fullmatch(owner)):
        return CODEBOOK
    is_table = _TABLE.fullmatch(owner) or (owner.isdigit() and _LIST.fullmatch(outer))
    return TABLE if is_table else None


def _owners(path: list[str]) -> list[str]:
    """The path of the module whose weight it is: `a.embedding_weight` is of `a.embedding`."""
    *outer, last = path
    owner = re.sub(r"_?(weight|kernel)(_[a-z0-9]+)*$", "", last)
    return [*outer, owner] if owner else outer


def _of_parameter(path: list[str], tensor: Shaped) -> Usage | None:
    """Of a parameter or buffer that is not called a weight."""
    *outer, last = ("", *path)
    if _POSITIONS.fullmatch(last) or (last == "pe" and any("pos" in part or part == "pe" for part in outer)):
        return POSITIONS
    if _CODEBOOK.fullmatch(last) or (_QUANTISER.fullmatch(outer[-1]) and _ENTRIES.fullmatch(last)):
        return CODEBOOK
    if last.endswith("bias"):
        return ADDED
    if _MASK.fullmatch(last):
        return MASK
    return INDEX if tensor.dtype == "int64" and "mask" not in last else None
