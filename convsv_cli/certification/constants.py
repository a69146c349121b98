"""How fast logits can come together: Lipschitz constants of the whole network, and up to its last layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from convsv_cli.auditing.network import kernel_norms, norms_on_demand
from convsv_cli.auditing.plan import resolve_device
from convsv_cli.certification.classifier import Classifier
from convsv_cli.certification.margins import margin_radii
from convsv_cli.lipschitz.bound import composition_of
from convsv_cli.report import BOUNDED, MARGIN, CertifySettings, NetworkBound, Route, Settings
from convsv_cli.spectral.cores import one_thread_each


@dataclass(frozen=True, kw_only=True, eq=False)
class Constants:
    """What is known of how fast logits can come together.

    Attributes:
        bound: of the whole network.
        before_head: up to the input of the last layer; infinite where there is none, or it is not Linear.
        head: weight of the last layer, float64 [classes, features]; None where nothing is known before it.
    """

    bound: NetworkBound
    before_head: float
    head: torch.Tensor | None

    @property
    def lipschitz(self) -> float:
        """Of the network; infinite where there is no bound."""
        return self.bound.lipschitz if self.bound.status == BOUNDED else math.inf

    @property
    def reason(self) -> str:
        """Why nothing is known; empty where something is."""
        return "" if math.isfinite(min(self.lipschitz, self.before_head)) else _reason(self.bound)

    def radii(
        self, logits: torch.Tensor, *, input_scale: float, logit_error: float | torch.Tensor
    ) -> torch.Tensor:
        """Of samples with these logits: float64 [n]; 0 where nothing is known."""
        if self.reason:
            return torch.zeros(len(logits), dtype=torch.float64)
        return margin_radii(
            logits,
            lipschitz=self.lipschitz,
            before_head=self.before_head,
            head=self.head,
            input_scale=input_scale,
            logit_error=logit_error,
        )

    def route(self, best: int) -> Route:
        """As it is reported."""
        constants = {"lipschitz": self.lipschitz, "lipschitz_before_head": self.before_head}
        finite = tuple((name, value) for name, value in constants.items() if math.isfinite(value))
        return Route(name=MARGIN, reason=self.reason, constants=finite, best=best)


def constants_of(
    classifier: Classifier, settings: CertifySettings, progress: Callable[[str, float], None]
) -> Constants:
    """From the certified norms of the rows that bounds of the network rest on.

    Args:
        classifier: the network.
        settings: how wide norms may be, where they are computed, and what inputs are known to be in.
        progress: told the row that is being measured, and the share of the work on all rows.

    Raises:
        UsageError: no such device.
    """
    asked = Settings(device=settings.device, tolerance=settings.tolerance, input_range=settings.input_range)
    device = resolve_device(asked.device)
    compose = partial(
        composition_of,
        layer_norm=norms_on_demand(classifier.network, asked, device, progress),
        kernel_norm=kernel_norms(asked, device),
        input_range=asked.input_range,
    )
    with one_thread_each():
        composition = compose(classifier.graph)
        bound, head = composition.bound(), classifier.head()
        before = math.inf
        if head is not None:
            known = composition.up_to(head.features)
            before = compose(classifier.up_to(head.features)).bound().lipschitz if known is None else known
    return Constants(
        bound=bound, before_head=before, head=head.weight if head is not None and before < math.inf else None
    )


def _reason(bound: NetworkBound) -> str:
    if bound.reason:
        return bound.reason
    if not bound.obstacles:
        return "the network's bound is beyond 1e308"
    first = bound.obstacles[0]
    more = len(bound.obstacles) - 1
    others = f", and {more} more" if more else ""
    return f"the network has no bound: {first.op} {first.node!r} {first.reason}{others}"
