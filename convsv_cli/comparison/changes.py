"""What has become of each layer, and of the network, from one audit to another."""

from __future__ import annotations

import math
from collections.abc import Iterator

from convsv_cli.comparison.effort import same_model, same_range, same_sizes, unequal_effort
from convsv_cli.comparison.pairs import Pair, pairs
from convsv_cli.report import BOUNDED, NOT_APPLICABLE, Audit, Difference, Interval, LayerAudit, NetworkBound
from convsv_cli.report.difference import (
    ADDED,
    CLOSE,
    LARGER,
    NOT_A_LAYER,
    NOT_AUDITED,
    NOT_COMPARABLE,
    REMOVED,
    SAME,
    SMALLER,
    Change,
)
from convsv_cli.version import __version__


def difference(old: Audit, new: Audit) -> Difference:
    """Both audits, and what has changed."""
    return Difference(version=__version__, old=old, new=new, changes=changes(old, new))


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
