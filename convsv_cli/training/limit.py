"""A layer that cannot amplify by more than a given factor: its weight is rescaled wherever it would."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from convsv_cli.errors import UsageError
from convsv_cli.model.layer import Geometry
from convsv_cli.report import CLIP, CLIP_METHODS, SCALE
from convsv_cli.spectral.clipping import SLOPES, Support, projected
from convsv_cli.spectral.limited import RECORD, proof_of, proven_factor, record_of
from convsv_cli.torch_modules.modules import check_padding, geometry_of, weight_of
from convsv_cli.training.unfoldings import Unfoldings, norms

Layer = TypeVar("Layer", bound=nn.Module)


def limit_norm(layer: Layer, limit: float = 1.0, *, method: str = SCALE) -> Layer:
    """Parametrise a layer's weight so that it amplifies by at most `limit`, and return the layer.

    With "scale", where sqrt(prod k) times the norm of the smallest unfolding (Singla & Feizi, arXiv
    1911.10258, theorem 1) exceeds `limit`, the weight is divided by the quotient, differentiably. In training
    mode that norm comes from one step of an iteration a call and may be a little low. In evaluation mode it
    is proven from above, of the very weight that the layer then uses; the proof is repeated only when the
    weight has changed.

    With "clip", training is by projected gradients (Gouk et al., Machine Learning 2021): the first call after
    a step of the optimiser lowers the singular values of the parameter itself that exceed the limit, by one
    projection on a torus (see `spectral.clipping`), and the layer multiplies by the parameter as it is. The
    projection is no part of the gradient. In evaluation mode a factor, usually just below 1, makes the
    certified norm of the weight keep the limit, which is up to sqrt(prod k) less than the bound that
    "scale" keeps to it. A projection takes about as long as some twenty factorizations of c x c matrices for
    each tap of the kernel; of 64 channels, a few tenths of a second.

    It holds at every input size, with zero padding, or circular padding of at most `dilation * (k - 1)` in
    all and a size that the stride divides. `torch.nn.utils.parametrize.remove_parametrizations(layer,
    "weight")` makes the weight as it is then a plain parameter. An audit of a state dict takes the weight as
    in evaluation mode.

    Args:
        layer: Linear, or a convolution of one to three dimensions, transposed or not.
        limit: positive.
        method: "scale" or "clip".

    Raises:
        UsageError: there is no such method; the layer is something else, or is padded in a way that itself
            amplifies; the limit is not a positive number.
    """
    if not 0 < limit < float("inf"):
        raise UsageError(f"the limit must be a positive number, not {limit}")
    if method not in CLIP_METHODS:
        raise UsageError(f"the method must be one of {', '.join(CLIP_METHODS)}, not {method!r}")
    geometry = geometry_of(layer)
    check_padding(layer, geometry)
    kind = NormClip if method == CLIP else NormLimit
    parametrize.register_parametrization(layer, "weight", kind(weight_of(layer), geometry, limit))
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

    certified = False
    """Whether the limit is of the certified norm."""

    def __init__(self, weight: torch.Tensor, geometry: Geometry, limit: float) -> None:
        super().__init__()
        self._geometry, self._limit = geometry, limit
        self._prepare(weight)
        self._proven: tuple[torch.Tensor, float] | None = None
        self.register_buffer(RECORD, record_of(geometry, limit, certified=self.certified))

    def _prepare(self, weight: torch.Tensor) -> None:
        """What training needs."""
        self._unfoldings = Unfoldings(weight, self._geometry)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight times a factor of at most 1."""
        with torch.autocast(weight.device.type, enabled=False):
            if not self.training:
                return weight * float(self._proven_factor(weight))
            return self._trained(weight)

    def _trained(self, weight: torch.Tensor) -> torch.Tensor:
        """What the layer multiplies by in training."""
        norm: torch.Tensor = norms([self._unfoldings], [weight])[0][0]
        return weight * (self._limit / norm.clamp_min(self._limit)).to(weight)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def _proven_factor(self, weight: torch.Tensor) -> float:
        known = self._proven
        if known is not None and same_kind(known[0], weight) and torch.equal(known[0], weight):
            return known[1]
        factor = proven_factor(weight, self._geometry, self._limit, proof_of(certified=self.certified))
        self._proven = (weight.clone(), factor)
        return factor

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:  # noqa: ANN401
        """A state dict of before there was a record has none, and another's may tell of another limit."""
        own = {**state_dict, f"{prefix}{RECORD}": self.get_buffer(RECORD)}
        super()._load_from_state_dict(own, prefix, *others)


class NormClip(NormLimit):
    """The parametrisation that `limit_norm` registers with the method "clip".

    Args:
        weight, geometry, limit: as of `NormLimit`.
    """

    certified = True

    def _prepare(self, weight: torch.Tensor) -> None:
        self._support = Support.of(weight.detach(), self._geometry)
        self._projected: int | None = None

    def _trained(self, weight: torch.Tensor) -> torch.Tensor:
        self._project(weight)
        return weight

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def _project(self, weight: torch.Tensor) -> None:
        """In place, and once for each version of the weight: backward passes keep what they have saved."""
        if weight._version == self._projected or not weight.isfinite().all():  # noqa: SLF001
            return
        kernel = self._support.kernel(weight.double().cpu()) / self._limit
        found = projected(kernel, self._support.mask, 1.0, SLOPES[0], rounds=1)
        if not torch.equal(found, kernel):
            weight.copy_(self._limit * self._support.weight(found))
        self._projected = weight._version  # noqa: SLF001


def same_kind(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the tensors can be compared."""
    return one.device == other.device and one.dtype == other.dtype
