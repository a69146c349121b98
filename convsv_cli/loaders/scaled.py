"""Weights that are stored in other units: values of few bits, with a scale in a tensor beside them.

A scale is applied only where its name and its shape leave no doubt of what it does. Of `q` [c_out, ...]:

* one value: `w = s q`;
* [c_out, 1, ...]: `w[i] = s[i] q[i]`; as a vector [c_out] only where no other axis is as long;
* [ceil(c_out / 128), ceil(c_in / 128)] of a matrix: one for each block of 128 x 128, as DeepSeek stores them
  under the name `weight_scale_inv`, which multiplies all the same.

Every other weight beside which lies something that may scale it is named as one that is not audited. Scales
of activations (`input_scale`) do not change a weight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from convsv_cli import limits
from convsv_cli.loaders.loader import StoredTensor, is_real
from convsv_cli.loaders.names import MARKER, owners, role
from convsv_cli.model.home import Home, NoHomeError

BLOCK = 128
QUANTISED = "quantised: what its values stand for depends on {}"
IMPOSSIBLE = "quantised: its scale {} has values that are not positive and finite"
MARKED = "quantised: the file says {}, but has no scale for it"
APPLIED = "dequantised weights: {} values times their scale {}, {}"
RAW = "its {} values are taken as they are: the file has no scale for them"
BARE = "{} is assumed not to scale it: a state dict does not say"
MAX_WORDS = 16

_CERTAIN = (
    "weight_scale",
    "scale_weight",
    "weight_scale_inv",
    "weights_scaling_factor",
    "weight.scale_weight",
)
"""What w = s q is known of, by the name below the layer's."""
_MULTIPLIED = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "int8")
_SCALES = ("float64", "float32", "float16", "bfloat16")
_COARSE = re.compile(r"float[48]_|q?u?int(8|16|32|4x2|2x4)$")
_EXTENDED = re.compile(r"(?:^|(?<=[._]))weight(?=[._])")
_HARMLESS = re.compile(r"bias|running_|num_batches|lora|^[kv]_scale$|^scaled_fp8$", re.IGNORECASE)


def dequantised(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors with each scale applied to its weight, or the weight marked as one that cannot be audited.

    What belongs to a weight is no longer a tensor in its own right.
    """
    return _File(tensors=tensors).resolved()


def is_coarse(dtype: str) -> bool:
    """Whether values of this type have so few bits that they commonly stand for others."""
    return _COARSE.match(dtype) is not None


@dataclass(frozen=True, kw_only=True)
class _File:
    """The tensors of a file, by what their names say."""

    tensors: Mapping[str, StoredTensor]
    consumed: set[str] = field(default_factory=set)

    def resolved(self) -> dict[str, StoredTensor]:
        """See `dequantised`."""
        if (
            not any(is_coarse(t.dtype) and len(t.shape) > 1 for t in self.tensors.values())
            and not self.scales
        ):
            return dict(self.tensors)
        found = {name: self._resolve(name, tensor) for name, tensor in self.tensors.items()}
        return {name: tensor for name, tensor in found.items() if name not in self.consumed}

    @cached_property
    def scales(self) -> dict[str, list[str]]:
        """Names of what may scale a weight, by its owner."""
        found: dict[str, list[str]] = {}
        for name, tensor in self.tensors.items():
            for owner in owners(name, is_small=len(tensor.shape) < 2):
                found.setdefault(owner, []).append(name)
        return found

    @cached_property
    def owners(self) -> frozenset[str]:
        """The owners of all weights."""
        return frozenset(role(name).owner for name, t in self.tensors.items() if self._is_weight(name, t))

    @cached_property
    def strays(self) -> dict[str, str]:
        """Scales that no weight is the exact owner of, by the name of what they may belong to."""
        return {owner: names[0] for owner, names in self.scales.items() if owner not in self.owners}

    @cached_property
    def longer_strays(self) -> dict[str, str]:
        """The same strays, by the name without its first words, or without what is said of its weight."""
        below = {owner.partition(".weight.")[0]: name for owner, name in self.strays.items()}
        return below | {end: name for owner, name in self.strays.items() for end in _ends(owner)}

    @cached_property
    def unclaimed(self) -> list[str]:
        """Strays that by name scale weights, or are of a collection of scales: whose, nothing says."""
        strays = [name for name in self.strays.values() if not self._is_claimed(name)]
        return [name for name in strays if role(name).scales_a_weight or _is_collected(name)]

    @cached_property
    def siblings(self) -> dict[str, list[str]]:
        """Names of tensors by what stands before their last dot, and by the weight whose name they extend."""
        found: dict[str, list[str]] = {}
        for name in self.tensors:
            extended = {name[: match.end()] for match in _EXTENDED.finditer(name)}
            for outer in {name.rpartition(".")[0], *(extended & self.tensors.keys())}:
                found.setdefault(outer, []).append(name)
        return found

    @cached_property
    def suspects(self) -> dict[str, list[str]]:
        """The siblings without those that scale nothing, whatever they stand beside: a bias and so on."""
        return {
            outer: [name for name in names if not self._is_harmless(name)]
            for outer, names in self.siblings.items()
        }

    @cached_property
    def is_marked(self) -> bool:
        """Whether there is the tensor by which ComfyUI says that weights are scaled."""
        return any(name.rpartition(".")[2] == MARKER for name in self.tensors)

    def _is_claimed(self, name: str) -> bool:
        found = owners(name, is_small=len(self.tensors[name].shape) < 2)
        return not self.owners.isdisjoint(found)

    def _is_weight(self, name: str, tensor: StoredTensor) -> bool:
        return len(tensor.shape) > 1 and not role(name).scales

    def _resolve(self, name: str, tensor: StoredTensor) -> StoredTensor:
        if not self._is_weight(name, tensor) or tensor.unusable:
            return tensor
        if not is_coarse(tensor.dtype):
            return self._ordinary(name, tensor)
        beside = self._beside(name, tensor)
        if not beside:
            return self._raw(tensor)
        self.consumed.update(other for other in beside if role(other).scales)
        scale = self._certain(name, tensor, beside)
        if scale is None:
            return replace(tensor, unusable=QUANTISED.format(" and ".join(beside[:3])))
        return _applied(tensor, scale, self.tensors[scale])

    def _ordinary(self, name: str, tensor: StoredTensor) -> StoredTensor:
        """Floats of 16 bits and more: scaled where a name says so; a mere "scale" may do anything."""
        said = role(name)
        beside = self.scales.get(said.owner, ()) if is_real(tensor.dtype) and "weight" in said.kinds else ()
        limits.spend(len(beside) * limits.OBJECT, lambda: f"looking for the scale of {name!r}")
        explicit = [other for other in beside if role(other).scales_a_weight]
        if explicit:
            self.consumed.update(explicit)
            return replace(tensor, unusable=QUANTISED.format(" and ".join(explicit[:3])))
        if beside and tensor.usage is None:
            return replace(tensor, assumed=(*tensor.assumed, BARE.format(beside[0])))
        return tensor

    def _beside(self, name: str, tensor: StoredTensor) -> list[str]:
        """Names of all that may say what the values stand for."""
        said = role(name)
        beside = list(self.scales.get(said.owner, ()))
        if tensor.dtype.startswith("float") and "weight" in said.kinds:
            near = (*self.suspects.get(name.rpartition(".")[0], ()), *self.suspects.get(name, ()))
            limits.spend(len(near) * limits.OBJECT, lambda: f"looking for the scale of {name!r}")
            beside += [other for other in near if other != name and not _is_other_weight(other, name)]
        if not beside and is_real(tensor.dtype):
            strays = [self.strays[end] for end in (*_ends(said.owner), "") if end in self.strays]
            longer = [*filter(None, (self.longer_strays.get(said.owner),))]
            beside = strays[:1] or longer or self.unclaimed[:1]
        return list(dict.fromkeys(beside))

    def _is_harmless(self, name: str) -> bool:
        """Whether a tensor is another weight of few bits, a bias, or about the layer's input."""
        is_part = role(name).activation or _HARMLESS.search(name.rpartition(".")[2])
        return bool(is_part) or (
            is_coarse(self.tensors[name].dtype) and self._is_weight(name, self.tensors[name])
        )

    def _certain(self, name: str, tensor: StoredTensor, beside: list[str]) -> str | None:
        """The one scale, where it is certain what it does."""
        layer, dot, last = name.rpartition(".")
        scale = self.tensors[beside[0]]
        known = last == "weight" and beside[0] in {f"{layer}{dot}{ending}" for ending in _CERTAIN}
        usable = scale.dtype in _SCALES and not scale.unusable and tensor.dtype in _MULTIPLIED
        fits = known and usable and _fit(tensor, scale.shape, ragged=beside[0].endswith("_inv"))
        return beside[0] if len(beside) == 1 and fits else None

    def _raw(self, tensor: StoredTensor) -> StoredTensor:
        if not is_real(tensor.dtype):
            return tensor
        if self.is_marked:
            return replace(tensor, unusable=MARKED.format(MARKER))
        return replace(tensor, assumed=(*tensor.assumed, RAW.format(tensor.dtype)))


def _is_other_weight(name: str, weight: str) -> bool:
    """Whether it is a weight of its own; `weight_s` of `weight` is none, whatever it is."""
    return role(name).kinds == {"weight"} and (name.endswith("weight") or not name.startswith(weight))


def _is_collected(name: str) -> bool:
    """Whether the first word of its path says "scales"."""
    outer, *inner = name.split(".")
    return bool(inner) and role(outer).scales and not role(outer).owner


def _ends(owner: str) -> Iterator[str]:
    """The name without the first few of its words, but never without all of them."""
    words = owner.split(".")
    return (".".join(words[i:]) for i in range(min(len(words), MAX_WORDS)))


def _fit(tensor: StoredTensor, scale: tuple[int, ...], *, ragged: bool) -> str:
    """How a scale of that shape is spread over the weight; empty where that is not certain."""
    shape = tensor.shape
    if math.prod(scale) == 1:
        return "one for all"
    if tensor.usage is not None and tensor.usage.geometry.transposed:
        return ""
    is_column = scale in {(shape[0],) + (1,) * (len(shape) - 1), (shape[0], 1)}
    is_vector = scale == shape[:1] and shape[0] not in shape[1:]
    if is_column or is_vector:
        return "one for each output channel"
    grid = tuple(-(-size // BLOCK) for size in shape)
    whole = not any(size % BLOCK for size in shape)
    return (
        f"one for each block of {BLOCK} x {BLOCK}"
        if len(shape) == 2 and scale == grid and (ragged or whole)
        else ""
    )


def scaled_values(scale: str) -> Home:
    """No home: values of few bits hardly hold others, and their scale is of all of a channel.

    Raises:
        NoHomeError: always.
    """
    raise NoHomeError(f"its values are multiplied by {scale}: clip the model before it is quantised")


def _applied(tensor: StoredTensor, name: str, scale: StoredTensor) -> StoredTensor:
    """The products, in float64, in which they are exact for scales of 32 bits and less."""
    factors = scale.read().double()
    if not bool(torch.isfinite(factors).all() and (factors > 0).all()):
        return replace(tensor, unusable=IMPOSSIBLE.format(name))
    spread = _fit(tensor, scale.shape, ragged=True)

    def read() -> torch.Tensor:
        values = tensor.read().double()
        factors = scale.read().double()
        if factors.numel() == 1:
            return values * factors.reshape(())
        if "block" in spread:
            grown = factors.repeat_interleave(BLOCK, 0)[: values.shape[0]]
            return values * grown.repeat_interleave(BLOCK, 1)[:, : values.shape[1]]
        return values * factors.reshape(-1, *(1,) * (values.ndim - 1))

    identities = tensor.identity, scale.identity
    return replace(
        tensor,
        dtype=tensor.dtype if is_real(tensor.dtype) else "float64",
        scheme=tensor.dtype,
        read=read,
        identity=None if None in identities else identities,
        assumed=(*tensor.assumed, APPLIED.format(tensor.dtype, name, spread)),
        home=lambda: scaled_values(name),
    )
