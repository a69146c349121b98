"""What an adapter makes of a layer's weight: a row of an audit is of the difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from convsv_cli.model.factored import Factored
    from convsv_cli.model.layer import Layer


Rescale = Callable[["Tensor"], "Tensor"]
"""Of a sum, float64: factors that have its axes."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What is added to the weight of a layer.

    Attributes:
        module: what the adapter calls the layer.
        kind: "LoRA", "DoRA", "LoHa", "LoKr", "full".
        rank: of its factors; None where these are whole.
        scale: what their product is multiplied by.
        factors: gives the update as a product of factors; of DoRA what is added before it rescales the sum.
        rescale: what the sum is multiplied by, slice by slice, to be the layer's weight; None for 1.
        flat: whether the factors have all taps of a kernel in one axis, so that they do not tell its size.
        transposed: whether the base's weight is stored as inputs x outputs.
        base: the layer of the base; None without one.
        no_base: why there is none; empty where nobody asked.
    """

    module: str
    kind: str
    rank: int | None = None
    scale: float = 1.0
    factors: Callable[[], Factored] = field(repr=False)
    rescale: Rescale | None = field(default=None, repr=False)
    flat: bool = False
    transposed: bool = False
    base: Layer | None = field(default=None, repr=False)
    no_base: str = ""
