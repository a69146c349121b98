"""Effective weights of reparametrised layers: what the layer multiplies by, never the raw parts.

* weight_norm (Salimans & Kingma 2016): g v / |v|, the norm over the axes on which g has one entry. Parts
  `weight_g`, `weight_v`, or `parametrizations.weight.original0`, `.original1`.
* spectral_norm (Miyato et al. 2018) as in evaluation: weight / (u' W v) with the stored u and v. Parts
  `weight_orig`, `weight_u`, `weight_v`, or `parametrizations.weight.original`, `.0._u`, `.0._v`.
* convsv's own `limit_norm`, as in evaluation. Parts `parametrizations.weight.original`, and its record.
* orthogonal, as `orthogonal` says. Parts `parametrizations.weight.original`, and perhaps `.0.base`.
* pruning: weight * mask. Parts `weight_orig`, `weight_mask`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from convsv_cli.loaders.convolution import torch_geometry
from convsv_cli.loaders.loader import StoredTensor, Usage
from convsv_cli.loaders.orthogonal import orthogonal, unknown, without_base
from convsv_cli.model.home import Home, homeless
from convsv_cli.model.layer import Geometry
from convsv_cli.spectral.limited import CERTIFIED, RECORD, limit_in, proof_of, proven_factor

if TYPE_CHECKING:
    import torch

Parts = Mapping[str, StoredTensor]
_SUFFIXES = frozenset(("g", "v", "u", "orig", "bar", "mask"))
_WORD = re.compile(r"\w*")
_REGISTERED = re.compile(r"(?P<module>.*?)parametrizations\.(?P<parameter>[^.]+)\.(?P<part>.+)", re.DOTALL)
MISFIT = "limit_norm whose record does not fit the weight"
_FLOATS = ("float64", "float32", "float16", "bfloat16")


def effective(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors with each set of parts replaced, at its first one's place, by the effective weight."""
    groups: dict[str, dict[str, str]] = {}
    for name in tensors:
        target, part = _split(name)
        groups.setdefault(target, {})[part] = name
    weights = {
        target: resolve({part: tensors[name] for part, name in names.items() if part})
        for target, names in groups.items()
    }
    result: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        target, _ = _split(name)
        weight = weights[target]
        if weight is None:
            result[name] = tensor
        elif next(iter(groups[target].values())) == name:
            result[target] = weight
    return result


def _split(name: str) -> tuple[str, str]:
    """The parameter's name and which part of it this is; the part is empty for a plain tensor."""
    registered = _REGISTERED.fullmatch(name)
    if registered:
        return registered["module"] + registered["parameter"], registered["part"]
    target, _, part = name.rpartition("_")
    _, weight, rest = target.rpartition("weight")
    return (target, part) if part in _SUFFIXES and weight and _WORD.fullmatch(rest) else (name, "")


def resolve(parts: Parts) -> StoredTensor | None:
    """The effective weight of these parts; None where they are tensors in their own right."""
    rule = _RULES.get(frozenset(parts))
    if rule is not None:
        return rule(parts)
    original = next((parts[part] for part in ("original", "original0", "orig", "bar") if part in parts), None)
    if original is not None:
        return replace(unknown(original), home=homeless)
    return None


def _combined(like: StoredTensor, combine: Callable[..., torch.Tensor], *parts: StoredTensor) -> StoredTensor:
    """A tensor of the same shape, computed in float64 when it is read."""
    identities = tuple(part.identity for part in parts)
    unusable = next((part.unusable for part in parts if part.unusable), "")
    if not unusable and _shape(combine, parts) != like.shape:
        unusable = "a parametrization whose parts do not fit each other"
    return StoredTensor(
        shape=like.shape,
        dtype=like.dtype,
        read=lambda: combine(*(part.read().to(torch.float64) for part in parts)),
        unusable=unusable,
        identity=None if None in identities else identities,
        usage=like.usage,
    )


def _shape(combine: Callable[..., torch.Tensor], parts: Sequence[StoredTensor]) -> tuple[int, ...] | None:
    """The shape of what the parts combine to; None where they do not fit."""
    try:
        return tuple(combine(*(torch.empty(part.shape, device="meta") for part in parts)).shape)
    except (RuntimeError, IndexError, TypeError, ValueError):
        return None


def _normed(g: StoredTensor, v: StoredTensor) -> StoredTensor:
    """As `_weight_norm`; a weight w is stored as v = w and g = |w|."""

    def home() -> Home:
        (first,), (second,) = g.home().places, v.home().places
        axes = _normed_axes(g.shape, v.shape)

        def split(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            norms: torch.Tensor = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
            return norms.reshape(g.shape), weight

        return Home(places=(first, second), split=split, join=_weight_norm)

    return replace(_combined(v, _weight_norm, g, v), home=home)


def _normed_axes(g: Sequence[int], v: Sequence[int]) -> list[int]:
    """Over which axes of v the norms are."""
    return [axis for axis in range(len(v)) if len(g) != len(v) or g[axis] == 1]


def _weight_norm(g: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """One entry of g an output channel, [c, 1, ..., 1], or a single one for the whole of v."""
    norms: torch.Tensor = torch.linalg.vector_norm(v, dim=_normed_axes(g.shape, v.shape), keepdim=True)
    return v * (g / norms)


def _spectral(weight: StoredTensor, u: StoredTensor, v: StoredTensor) -> StoredTensor:
    """The stored u tells which axis was the rows': the first, or the second for a transposed convolution."""
    axes = (0, 1) if weight.usage is None else (int(weight.usage.geometry.transposed),)
    fits = [axis for axis in axes if weight.shape[axis : axis + 1] == u.shape]
    if not fits:
        return replace(weight, unusable="spectral_norm whose u does not fit the weight")

    def normalise(w: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        sigmas = torch.stack([left @ w.movedim(axis, 0).flatten(1) @ right for axis in fits])
        return w / sigmas.gather(0, sigmas.abs().argmax(dim=0, keepdim=True))

    combined = _combined(weight, normalise, weight, u, v)
    if len(fits) == 1:
        return combined
    return replace(combined, assumed=("spectral_norm over the axis that its stored vectors fit better",))


_RULES: dict[frozenset[str], Callable[[Parts], StoredTensor]] = {
    frozenset(("g", "v")): lambda p: _normed(p["g"], p["v"]),
    frozenset(("original0", "original1")): lambda p: _normed(p["original0"], p["original1"]),
    frozenset(("orig", "u", "v")): lambda p: _spectral(p["orig"], p["u"], p["v"]),
    frozenset(("original", "0._u", "0._v")): lambda p: _spectral(p["original"], p["0._u"], p["0._v"]),
    frozenset(("original", f"0.{RECORD}")): lambda p: limited(p["original"], p[f"0.{RECORD}"]),
    frozenset(("original", "0.base")): lambda p: orthogonal(p["original"], p["0.base"]),
    frozenset(("original",)): lambda p: without_base(p["original"]),
    frozenset(("orig", "mask")): lambda p: _combined(p["orig"], torch.mul, p["orig"], p["mask"]),
}


def limited(original: StoredTensor, record: StoredTensor) -> StoredTensor:
    """The weight times the factor that the module finds for it, in the type of the weight as there.

    The record also says how the weight is applied, which a state dict does not.
    """
    axes = len(original.shape) - 2
    own = 3 + 2 * axes
    if record.unusable or record.dtype != "int64" or record.shape not in {(own,), (own + 1,)}:
        return replace(original, unusable=MISFIT)
    entries = tuple(record.read().tolist())
    limit, arguments = limit_in(entries[:own])
    certified = entries[own:] == (CERTIFIED,)
    if entries[own:] and not certified:
        return replace(original, unusable=MISFIT)
    geometry = torch_geometry({**arguments, "output_padding": None}, original.shape) if axes else Geometry()
    if not 0 < limit < float("inf") or original.dtype not in _FLOATS or geometry is None:
        return replace(original, unusable=original.fault or MISFIT)
    geometry = replace(geometry, padding=())

    def read() -> torch.Tensor:
        weight = original.read()
        if not weight.isfinite().all():
            return weight
        return weight * proven_factor(weight, geometry, limit, proof_of(certified=certified))

    def home() -> Home:
        import torch

        known = original.home()
        dtype: torch.dtype = getattr(torch, original.dtype)

        def join(part: torch.Tensor) -> torch.Tensor:
            weight = part.to(dtype)
            return (weight * proven_factor(weight, geometry, limit, proof_of(certified=certified))).double()

        return replace(known, join=join)

    return replace(
        original,
        read=read,
        home=home,
        identity=None if original.identity is None else (original.identity, RECORD, entries),
        usage=original.usage or Usage(geometry=geometry),
    )
