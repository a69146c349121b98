"""What has become of layers and of the network: from one audit to another, or over many."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convsv_cli.report.audit import Audit
from convsv_cli.report.layer import Interval

ADDED, REMOVED, SAME, LARGER, SMALLER = "added", "removed", "same", "larger", "smaller"
CLOSE, NOT_AUDITED, NOT_COMPARABLE = "too close to tell", "not audited", "not comparable"
NOT_A_LAYER = "not applicable"
BY_NAME, BY_WEIGHT, BY_SHAPE = "name", "weight", "shape and order"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A layer before and after; the network where it has no name.

    Attributes:
        name: of the layer, in the new audit where it is there.
        before: its name in the old one; empty where it was not there.
        kind: `ADDED`, `REMOVED`, `SAME` (weight and geometry), `LARGER` or `SMALLER` (proven: the intervals
            of the norm do not meet; of the network, of which only bounds are known, its bound is), `CLOSE`
            (they do, or both bounds are infinite), `NOT_AUDITED` (one is missing), `NOT_A_LAYER` (it is a
            table or the like, now or before), or `NOT_COMPARABLE` (of the network: its bounds are for other
            inputs, or were made with other effort; of a layer: only one audit took its stride for 1).
        matched: how both were recognised as one: `BY_NAME` (wrappers aside), `BY_WEIGHT`, or `BY_SHAPE`,
            which is a guess; empty where they were not.
        old, new: what is proven of the norm, or Lipschitz constant; None where nothing is.
        reason: why both say nothing of what has changed: bounds of the network for other inputs, or that were
            made in other ways; empty where they do.
        distance: what is proven of the norm of the difference of both weights; None where that was not asked
            for, or cannot be said.
        no_distance: why not, of a layer that is in both; empty where it is known, or was not asked for.
    """

    name: str
    before: str
    kind: str
    matched: str = ""
    old: Interval | None = None
    new: Interval | None = None
    reason: str = ""
    distance: Interval | None = None
    no_distance: str = ""

    @property
    def share(self) -> float | None:
        """An upper bound of the distance, relative to the old norm; None where there is none."""
        if self.distance is None or self.old is None:
            return None
        share = self.distance.upper / self.old.lower if self.old.lower else math.inf
        if not self.distance.upper:
            return 0.0
        return math.nextafter(share, math.inf) if math.isfinite(share) else None

    @property
    def renamed(self) -> bool:
        """Whether it has another name now, and not only other wrappers."""
        return self.matched not in ("", BY_NAME) and self.before != self.name

    @property
    def ratio(self) -> float | None:
        """Of the certified upper ends, new to old; None where there are none, or not of a finite ratio."""
        if self.old is None or self.new is None or not self.old.upper:
            return None
        ratio = self.new.upper / self.old.upper
        return ratio if math.isfinite(ratio) else None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two audits, and what has changed.

    Attributes:
        version: of convsv.
        old, new: the audits, the new one with the verdict on the difference where one was asked for.
        changes: the network's, then each layer's; those that were removed come last.
    """

    version: str
    old: Audit
    new: Audit
    changes: tuple[Change, ...]


Figures = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Certified upper ends, one for each audit; None where an audit has none.

    Attributes:
        names: of the audits.
        layers: the norms of each layer that some audit has, by its plain name, in the order of their first
            appearance.
        network: the bounds of the network.
        reason: why these tell nothing of growth: two of them were made in other ways; empty where they do.
        limits: what a budget allowed each layer, as `layers` has them; None where no limit holds.
        network_limits: likewise, of the network.
        routes: by which ways the bounds of the network were found; empty where that is not known.
    """

    names: tuple[str, ...]
    layers: tuple[tuple[str, Figures], ...]
    network: Figures
    reason: str = ""
    limits: tuple[Figures, ...] = ()
    network_limits: Figures = ()
    routes: tuple[str, ...] = ()
