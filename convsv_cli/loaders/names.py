"""What the name of a stored tensor says that it is: a weight, a scale, a table, or a training's own state.

Nothing in a state dict says how a tensor is used. So only names count that one kind of thing has by
convention, and only in full: `word_embeddings` is a table; `x_embedder`, `patch_embed.proj`, `bond_embedding`
may as well be matrices. What has a bias is a matrix whatever its name, since no table has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from convsv_cli import limits
from convsv_cli.loaders.loader import StoredTensor, Usage

Key = TypeVar("Key")
Value = TypeVar("Value")
NAME_STEPS = 500
"""Steps for each character of a name, which tells in many ways what a thing is."""
MARKER = "scaled_fp8"
"""A tensor by which ComfyUI says that a file's weights have scales."""
_WORDS = re.compile(r"_+|(?<=[a-z])(?=[A-Z])")
_SCALE_WORD = re.compile(r"(?!re|up)(?:weights?|\w{0,2})scal(?:e|es|ed|ing)\w{0,2}|absmax|amax|scb|qparams?")
_KINDS = {
    **dict.fromkeys(("weight", "weights", "qweight", "kernel", "packed", "data", "blocks"), "weight"),
    **dict.fromkeys(("zero", "zeros", "qzeros", "zp", "zeropoint"), "zero"),
    **dict.fromkeys(("quant", "quantized", "quantised", "quantizer", "quantiser", "dequant"), "quant"),
    **dict.fromkeys(("bitsandbytes", "codebook", "lut", "idx", "nf4", "fp4", "fp8", "int4", "int8"), "quant"),
}
_MODIFIERS = frozenset((
    "", "0", "1", "2", "inv", "inverse", "per", "channel", "tensor", "block", "group", "row", "factor",
    "factors", "point", "map", "state", "shape", "format", "nested", "g", "min", "max", "comfy", "pre",
    "fake",
))  # fmt: skip
_FOLDED = frozenset(("pre", "prequant", "smooth", "smoother", "smoothing"))
"""Words for what scales the input of a layer, whose weight was divided by the same numbers."""
_ACTIVATIONS = frozenset(("input", "inputs", "act", "acts", "activation", "activations", "output", "outputs"))


def begin_reading(characters: int, what: str) -> None:
    """Take the steps for reading names of so many characters, which are those of `what`, before it is done.

    Raises:
        LimitError: fewer are left.
    """
    limits.spend(NAME_STEPS * characters, f"reading the names of {what}")


@dataclass(frozen=True, kw_only=True)
class Role:
    """What a name says that a tensor is.

    Attributes:
        owner: the layer, with every separator as a dot.
        kinds: "weight", "scale", "zero", "quant": words in the name, below the layer's.
        activation: it is about the layer's input or output.
    """

    owner: str
    kinds: frozenset[str]
    activation: bool = False

    @property
    def scales(self) -> bool:
        """Whether it may say what the values of a weight stand for."""
        return bool(self.kinds - {"weight"}) and not self.activation

    @property
    def scales_a_weight(self) -> bool:
        """Whether it does, and its name says so."""
        return self.scales and "weight" in self.kinds


@lru_cache(maxsize=4096)
def role(name: str) -> Role:
    """What a tensor of this name is: `a.weight_scale_inv` is a scale of the weight of `a`.

    The last part of the name decides: `a.scale.weight` is the weight of a layer that is called `a.scale`.
    """
    *parts, last = name.split(".")
    if last == MARKER:
        return Role(owner=name, kinds=frozenset())
    kinds, rest = _read(last)
    words = set(_words(last))
    if rest:
        parts.append(rest)
    while kinds and not rest and parts:
        more, left = _read(parts[-1])
        if left or not more or (kinds == {"weight"} != more):
            break
        kinds |= more
        words.update(_words(parts.pop()))
    if not kinds and (inner := _below_scales(parts)) is not None:
        kinds, parts = {"scale"}, inner
    owner = ".".join(parts).replace("_", ".")
    activation = not words.isdisjoint(_ACTIVATIONS) and words.isdisjoint(_FOLDED)
    return Role(owner=owner, kinds=frozenset(kinds), activation=activation)


def owners(name: str, *, is_small: bool) -> list[str]:
    """What a scale of this name may belong to; none where it is not a scale.

    One within a collection may be named as its weight: `scales.a.weight` belongs to `a`, if `is_small`; what
    is within a scale belongs to its owner: `a.weight_scale.value`.
    """
    said = role(name)
    if said.activation or not (said.scales or is_small):
        return []
    parts = name.split(".")
    inner = _below_scales(role(name).owner.split("."))
    found = [said.owner] if said.scales else []
    found += [] if inner is None else [".".join(inner)]
    first = next((i for i, part in enumerate(parts[:-1]) if "scale" in map(_kind, _words(part))), 0)
    before = role(".".join(parts[: first + 1])).owner if first and is_small else ""
    return list(dict.fromkeys([*found, *([before] if before else [])]))


def _below_scales(parts: list[str]) -> list[str] | None:
    """What follows the first part of a name that says "scales"."""
    first = next((i for i, part in enumerate(parts) if "scale" in map(_kind, _words(part))), None)
    return None if first is None else parts[first + 1 :]


def _read(part: str) -> tuple[set[str], str]:
    """The kinds of words in a part of a name, and what else is in it."""
    words = _words(part)
    kinds = set(filter(None, map(_kind, words)))
    known = _MODIFIERS | _ACTIVATIONS
    rest = [word for word in words if not _kind(word) and word not in known] if kinds else words
    if rest and _kind(words[-1]) == "weight":
        kinds, rest = {"weight"}, words[:-1]
    elif rest and not kinds & {"weight", "scale", "zero"}:
        kinds, rest = set(), words
    return kinds, "_".join(rest)


def _words(part: str) -> list[str]:
    if part.lower() == "w_q":
        return ["weight"]
    return [word.lower() for word in _WORDS.split(part)]


def _kind(word: str) -> str:
    return _KINDS.get(word) or ("scale" if _SCALE_WORD.fullmatch(word) else "")


def _none(op: str, reason: str) -> Usage:
    return Usage(op=op, reason=reason, applicable=False)


TABLE = _none("Gather", "by its name, an embedding table: a look-up by integer indices amplifies nothing")
POSITIONS = _none("Gather", "by its name, a position embedding: looked up or added, it amplifies nothing")
CODEBOOK = _none(
    "Gather", "by its name, a codebook: its entries are looked up; nothing is multiplied by them"
)
ADDED = _none("Add", "by its name, a bias: what is added amplifies nothing")
MASK = _none("Where", "by its name, an attention mask: what selects amplifies nothing")
INDEX = _none("Gather", "64-bit integers: by their type, indices rather than weights")
_WEIGHTS = ("weight", "kernel")
_LAST_WORDS = re.compile(r"(?:[a-z0-9]+_)*[a-z0-9]+")
"""The last words of a name, read backwards."""
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


def is_matrix(names: Sequence[str], tensors: Mapping[str, StoredTensor]) -> bool:
    """Whether the tensor that has these names has a bias, with one entry per row or column."""
    biases = ((tensors[name], tensors.get(_bias(name))) for name in names)
    return any(bias is not None and bias.shape in {(s,) for s in tensor.shape} for tensor, bias in biases)


def no_layer(names: Sequence[str], tensors: Mapping[str, StoredTensor]) -> Usage | None:
    """What a tensor that has these names is instead of a layer; None where it may be one.

    Of tied tensors all names must say so: a table that is the last layer's matrix, too, is a layer.
    """
    found = [_by_name(name, tensors[name]) for name in names]
    return None if None in found or is_matrix(names, tensors) else found[0]


def is_called_weight(name: str) -> bool:
    """Whether it is a weight by its name, which may say more in small letters: `a.weight_g`."""
    return _weight_word(name) is not None


def _weight_word(name: str) -> tuple[int, int] | None:
    """Where the first "weight" or "kernel" is that nothing but words in small letters follows."""
    spans = ((start, end) for start, end in _last_words(name) if name[start:end] in _WEIGHTS)
    return next(((start, end) for start, end in spans if name[:start][-1:] in ("", ".", "_")), None)


def _last_words(name: str) -> Iterator[tuple[int, int]]:
    """Where each of the words in small letters is with which a name ends, and of which "_" is between."""
    found = _LAST_WORDS.match(name[::-1])
    start = len(name) - (found.end() if found else 0)
    for word in name[start:].split("_"):
        yield start, start + len(word)
        start += len(word) + 1


def _bias(name: str) -> str:
    found = _weight_word(name)
    return name if found is None else f"{name[: found[0]]}bias{name[found[1] :]}"


def _by_name(name: str, tensor: StoredTensor) -> Usage | None:
    path = [_HUMP.sub("_", part).lower() for part in name.split(".")]
    if is_called_weight(name):
        return _of_weight(path) if len(tensor.shape) == 2 else None
    return _of_parameter(path, tensor)


def _of_weight(path: list[str]) -> Usage | None:
    """What a matrix called a weight is, by the last module of its path, or the last list of modules."""
    *_, outer, owner = ("", "", *_owners(path))
    if _CODEBOOK.fullmatch(owner) or (_QUANTISER.fullmatch(outer) and _ENTRIES.fullmatch(owner)):
        return CODEBOOK
    is_table = _TABLE.fullmatch(owner) or (owner.isdigit() and _LIST.fullmatch(outer))
    return TABLE if is_table else None


def _owners(path: list[str]) -> list[str]:
    """The path of the module whose weight it is: `a.embedding_weight` is of `a.embedding`."""
    *outer, last = path
    ends = (end for start, end in _last_words(last) if last[start:end].endswith(_WEIGHTS))
    end = next(ends, None)
    owner = last if end is None else last[: end - len(_WEIGHTS[0])].removesuffix("_")
    return [*outer, owner] if owner else outer


def _of_parameter(path: list[str], tensor: StoredTensor) -> Usage | None:
    """What a parameter or buffer is that is not called a weight."""
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


NOTE = "also holds the training state of convsv ({} and so on): not weights"
_DIRECTION = re.compile(r"(?:^|\.)_?unfoldings\.(?:\d+\.)?kept(?:_\d+)*$")
_AXES, _COLUMNS = 3, 3


def training_state(tensors: Mapping[Key, Value]) -> list[Key]:
    """The names of what trainings with convsv once left among the weights, known by names and shapes.

    The directions of `LipschitzPenalty`, `CurvatureLoss` and `limit_norm` were in every `state_dict` that
    these were a part of: "penalty.unfoldings.0.kept_0", [blocks, rows, 3]. No network multiplies by them.
    """
    return [name for name, tensor in tensors.items() if is_direction(name, tensor)]


def without_training_state(tensors: Mapping[Key, Value]) -> dict[Key, Value]:
    """All tensors but these directions."""
    return {name: tensor for name, tensor in tensors.items() if not is_direction(name, tensor)}


def notes_on(directions: Iterable[str]) -> tuple[str, ...]:
    """What to say of such directions, where there are any."""
    first = next(iter(directions), None)
    return () if first is None else (NOTE.format(repr(first)),)


def is_direction(name: object, tensor: object) -> bool:
    """Whether a tensor is such a direction, by its name and shape."""
    shape: Sequence[int] = getattr(tensor, "shape", ())
    named = isinstance(name, str) and _DIRECTION.search(name) is not None
    return named and len(shape) == _AXES and shape[-1] == _COLUMNS
