"""What is known of samples as a report, at any time: at the end, on the way, and where Ctrl-C was the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from convsv_cli.certification.proving import Proving
from convsv_cli.report import (
    INTERRUPTED,
    TIME_LIMIT,
    Attack,
    Certification,
    CertifySettings,
    Model,
    NetworkBound,
    SampleRadius,
)
from convsv_cli.version import __version__

EVERY = 10.0
"""Seconds between two reports on the way."""
Listener = Callable[[Certification], None]
Outcome = tuple[list[float | None], Attack | None]
"""Of an attack: at which radius each sample was broken, and what was tried."""


@dataclass(kw_only=True, eq=False)
class Results:
    """Reports of one certification.

    Attributes:
        model: the file.
        settings: what was asked for.
        y: the true classes, int64 [n].
        logits: float64 [n, classes].
        bound: of the whole network.
        notes: what was taken for granted, or done to the data.
        start: of the work, by `time.monotonic`.
        latest: when there was a report on the way, or the start.
    """

    model: Model
    settings: CertifySettings
    y: torch.Tensor
    logits: torch.Tensor
    bound: NetworkBound
    notes: tuple[str, ...]
    start: float
    latest: float = field(init=False)

    def __post_init__(self) -> None:
        self.latest = self.start

    def on_the_way(self, proving: Proving, listener: Listener) -> None:
        """Tell a listener what is known so far, unless it has just been told."""
        now = time.monotonic()
        if now - self.latest >= EVERY:
            self.latest = now
            listener(self.report(proving, self.untried(None), complete=False))

    def untried(self, attack: Attack | None) -> Outcome:
        """What is known of an attack that has broken nothing."""
        return [None] * len(self.y), attack

    def certified(self, proving: Proving) -> str:
        """How many are certified so far, in words."""
        eps, (radii, *_) = self.settings.eps[0], proving.radii()
        certified = int(((radii > eps) & (proving.predicted == self.y)).sum())
        return f"{certified:,} of {len(self.y):,} certified at {self.settings.spelled(eps)}"

    def report(self, proving: Proving, tried: Outcome, *, complete: bool = True) -> Certification:
        """What is known by now.

        Args:
            proving: radii.
            tried: an attack.
            complete: whether that is all that there will be, unless it ended early.
        """
        radii, routes, names = proving.radii()
        broken, attack = tried
        columns = (each.tolist() for each in (self.y, proving.predicted, radii, proving.ended))
        return Certification(
            version=__version__,
            model=self.model,
            settings=self.settings,
            samples=tuple(
                SampleRadius(label=y, predicted=p, radius=r, ended=e, broken=b, route=n)
                for y, p, r, e, b, n in zip(*columns, broken, names, strict=True)
            ),
            routes=routes,
            bound=self.bound,
            attack=attack,
            typical_margin=self._typical_margin(),
            notes=self.notes,
            seconds=time.monotonic() - self.start,
            complete=complete and not proving.stopped,
            interrupted=proving.stopped == INTERRUPTED,
            timed_out=proving.stopped == TIME_LIMIT,
        )

    def _typical_margin(self) -> float | None:
        top = self.logits.topk(2, dim=1).values[self.logits.argmax(1) == self.y]
        return float((top[:, 0] - top[:, 1]).median()) if len(top) else None
