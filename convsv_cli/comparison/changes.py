"""What has become of each layer, and of the network, from one audit to another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.comparison.effort import same_model, same_range, same_sizes, unequal_effort
from convsv_cli.comparison.pairs import BY_NAME, Pair, pairs
from convsv_cli.report import BOUNDED, NOT_APPLICABLE, Audit, Interval, LayerAudit, NetworkBound

ADDED, REMOVED, SAME, LARGER, SMALLER = "added", "removed", "same", "larger", "smaller"
CLOSE, NOT_AUDITED, NOT_COMPARABLE = "too close to tell", "not audited", "not comparable"
NOT_A_LAYER = "not applicable"


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
        matched: how both were recognised as one, `Pair.by`.
        old, new: what is proven of the norm, or Lipschitz constant; None where nothing is.
    """

    name: str
    before: str
    kind: str
    matched: str = ""
    old: Interval | None = None
    new: Interval | None = None

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


def changes(old: Audit, new: Audit) -> tuple[Change, ...]:
    """The network's, then each layer's; those that were removed come last."""
    return (_network(old, new), *_layers(old, new))


def _network(old: Audit, new: Audit) -> Change:
    before, after = _bound(old.bound), _bound(new.bound)
    if before is None or after is None:
        kind = NOT_AUDITED
    elif not (same_range(old, new) and same_sizes(old, new)):
        kind = NOT_COMPARABLE
    elif unequal_effort(old, new):
        kind = SAME if same_model(old, new) else NOT_COMPARABLE
    else:
        kind = _growth(before.upper, after.upper)
    return Change(name="", before="", kind=kind, old=before, new=after)


def _growth(before: float, after: float) -> str:
    """Of a bound; of two that are beyond floating point nobody knows."""
    if math.isinf(before) and math.isinf(after):
        return CLOSE
    return LARGER if after > before else SMALLER if after < before else SAME


def _layers(old: Audit, new: Audit) -> Iterator[Change]:
    restrided = old.settings.as_stride_1 != new.settings.as_stride_1
    for pair in pairs(old, new):
        row = pair.new or pair.old
        yield Change(
            name=row.name if row else "",
            before=pair.old.name if pair.old else "",
            kind=_kind(pair, restrided=restrided),
            matched=pair.by,
            old=_certified(pair.old),
            new=_certified(pair.new),
        )


def _kind(pair: Pair, *, restrided: bool) -> str:
    if pair.old is None or pair.new is None:
        return ADDED if pair.old is None else REMOVED
    if restrided and pair.old.stride != pair.new.stride:
        return NOT_COMPARABLE
    if pair.same_map:
        return SAME
    old, new = _certified(pair.old), _certified(pair.new)
    if old is None or new is None:
        return NOT_A_LAYER if NOT_APPLICABLE in (pair.old.status, pair.new.status) else NOT_AUDITED
    return LARGER if new.lower > old.upper else SMALLER if new.upper < old.lower else CLOSE


def _certified(row: LayerAudit | None) -> Interval | None:
    measured = None if row is None else row.measurement("certified")
    return None if measured is None else measured.enclosure


def _bound(bound: NetworkBound) -> Interval | None:
    return Interval(upper=bound.at_settings) if bound.status == BOUNDED else None
