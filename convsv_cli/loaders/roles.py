"""What the name of a stored tensor says that it is: a weight, or what the values of a weight stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

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
"""Words for what scales the input of a layer, so that its weight was divided by the same."""
_ACTIVATIONS = frozenset(("input", "inputs", "act", "acts", "activation", "activations", "output", "outputs"))


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
        """Likewise, and its name says so."""
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
    """What a scale of this name may belong to; none where it is no scale.

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
