"""Weights under convsv's own `limit_norm`, as in evaluation: what the layer then multiplies by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from convsv_cli.loaders.convolution import torch_geometry
from convsv_cli.loaders.loader import StoredTensor, Usage
from convsv_cli.model.home import Home
from convsv_cli.model.layer import Geometry
from convsv_cli.spectral.limited import CERTIFIED, RECORD, limit_in, proof_of, proven_factor

if TYPE_CHECKING:
    import torch

MISFIT = "limit_norm whose record does not fit the weight"
_FLOATS = ("float64", "float32", "float16", "bfloat16")


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
