"""A layer that cannot amplify by more than a given factor: its weight is rescaled wherever it would."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from convsv_cli.errors import UsageError
from convsv_cli.model.layer import Geometry
from convsv_cli.spectral.limited import RECORD, proven_factor, record_of
from convsv_cli.torch_modules.modules import check_padding, geometry_of, weight_of
from convsv_cli.training.unfoldings import Unfoldings, norms

Layer = TypeVar("Layer", bound=nn.Module)


def limit_norm(layer: Layer, limit: float = 1.0) -> Layer:
    """Parametrise a layer's weight so that it amplifies by at most `limit`, and return the layer.

    Where sqrt(prod k) times the norm of the smallest unfolding (Singla & Feizi, arXiv 1911.10258, theorem 1)
    exceeds `limit`, the weight is divided by the quotient, differentiably. In training mode that norm comes
    from one step of an iteration a call and may be a little low. In evaluation mode it is proven from above,
    of the very weight that the layer then uses; the proof is repeated only when the weight has changed.

    It holds at every input size, with zero padding, or circular padding of at most `dilation * (k - 1)` in
    all and a size that the stride divides. `torch.nn.utils.parametrize.remove_parametrizations(layer,
    "weight")` makes the weight as it is then a plain parameter. An audit of a state dict takes the weight as
    in evaluation mode.

    Args:
        layer: Linear, or a convolution of one to three dimensions, transposed or not.
        limit: positive.

    Raises:
        UsageError: the layer is something else, or is padded in a way that itself amplifies; the limit is not
            a positive number.
    """
    if not 0 < limit < float("inf"):
        raise UsageError(f"the limit must be a positive number, not {limit}")
    geometry = geometry_of(layer)
    check_padding(layer, geometry)
    parametrize.register_parametrization(layer, "weight", NormLimit(weight_of(layer), geometry, limit))
    return layer


class NormLimit(nn.Module):
    """The parametrisation that `limit_norm` registers.

    A state dict has a record of it, from which an audit knows what the layer multiplies by. It is for readers
    alone: a module that loads a state dict keeps to the limit that it was made with.

    Args:
        weight: to begin with; it is not kept.
        geometry: how it is applied.
        limit: of the norm.
    """

    def __init__(self, weight: torch.Tensor, geometry: Geometry, limit: float) -> None:
        super().__init__()
        self._geometry, self._limit = geometry, limit
        self._unfoldings = Unfoldings(weight, geometry)
        self._proven: tuple[torch.Tensor, float] | None = None
        self.register_buffer(RECORD, record_of(geometry, limit))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight times a factor of at most 1."""
        with torch.autocast(weight.device.type, enabled=False):
            if not self.training:
                return weight * float(self._proven_factor(weight))
            norm: torch.Tensor = norms([self._unfoldings], [weight])[0][0]
            return weight * (self._limit / norm.clamp_min(self._limit)).to(weight)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def _proven_factor(self, weight: torch.Tensor) -> float:
        known = self._proven
        if known is not None and same_kind(known[0], weight) and torch.equal(known[0], weight):
            return known[1]
        factor = proven_factor(weight, self._geometry, self._limit)
        self._proven = (weight.clone(), factor)
        return factor

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:  # noqa: ANN401
        """A state dict of before there was a record has none, and another's may tell of another limit."""
        own = {**state_dict, f"{prefix}{RECORD}": self.get_buffer(RECORD)}
        super()._load_from_state_dict(own, prefix, *others)


def same_kind(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the tensors can be compared."""
    return one.device == other.device and one.dtype == other.dtype
