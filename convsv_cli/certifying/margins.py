"""Radii from Lipschitz constants: of the whole network, and up to the last layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from convsv_cli.auditing.meter import Meter
from convsv_cli.auditing.network import bound_of
from convsv_cli.auditing.plan import resolve_device
from convsv_cli.certificates.margin import margin_radii
from convsv_cli.certifying.classifier import Classifier
from convsv_cli.report import BOUNDED, MARGIN, Audit, NetworkBound, Route


@dataclass(frozen=True, kw_only=True, eq=False)
class Margins:
    """What is known of how fast logits can come together.

    Attributes:
        lipschitz: of the network; infinite where there is no bound.
        before_head: up to the input of the last layer; infinite where there is none, or it is not Linear.
        head: weight of the last layer, float64 [classes, features].
        reason: why nothing is known; empty where something is.
    """

    lipschitz: float
    before_head: float
    head: torch.Tensor | None
    reason: str

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


def margins_of(classifier: Classifier, audit: Audit) -> Margins:
    """From an audit of the classifier's network."""
    head = classifier.head()
    before = math.inf
    if head is not None:
        settings = audit.settings
        bound = bound_of(
            classifier.up_to(head.features),
            audit.layers,
            settings,
            resolve_device(settings.device),
            Meter(None, 1),
        )
        before = bound.lipschitz if bound.status == BOUNDED else math.inf
    known = math.isfinite(before)
    whole = audit.bound.lipschitz if audit.bound.status == BOUNDED else math.inf
    return Margins(
        lipschitz=whole,
        before_head=before,
        head=head.weight if head is not None and known else None,
        reason="" if known or math.isfinite(whole) else _reason(audit.bound),
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
