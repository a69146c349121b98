"""How fast logits can come together: Lipschitz constants of the whole network, and up to its last layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from convsv_cli.auditing.network import norms_on_demand
from convsv_cli.auditing.plan import resolve_device
from convsv_cli.certification.classifier import Classifier
from convsv_cli.lipschitz.bound import composition_of
from convsv_cli.lipschitz.dependencies import ending_at
from convsv_cli.report import BOUNDED, CertifySettings, NetworkBound, Settings
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
        norms=norms_on_demand(classifier.network, asked, device, progress),
        input_range=asked.input_range,
    )
    with one_thread_each():
        composition, head, before = compose(classifier.graph), classifier.head(), math.inf
        if head is not None:
            known = composition.up_to(head.features)
            if known is None:  # folding has merged the last layer with what comes before it
                known = compose(ending_at(classifier.graph, head.features)).bound().lipschitz
            before = known
    weight = head.weight if head is not None and math.isfinite(before) else None
    return Constants(bound=composition.bound(), before_head=before, head=weight)
