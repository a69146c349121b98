"""How a layer uses its weight, where a file says so: what a bare state dict leaves to be assumed."""

from __future__ import annotations

from dataclasses import dataclass, field

from convsv_cli.model.layer import Geometry


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What is done with one weight.

    Attributes:
        op: ONNX operator type of the layer.
        geometry: how the kernel is applied.
        reason: why the layer cannot be audited; empty where it can.
        applicable: whether it is a layer at all, and no table of numbers that are looked up.
        assumed: what was taken for granted to say so.
    """

    op: str
    geometry: Geometry = field(default_factory=Geometry)
    reason: str = ""
    applicable: bool = True
    assumed: tuple[str, ...] = ()
