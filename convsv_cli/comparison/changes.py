"""What has become of layers and of the network from one audit to another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from convsv_cli.comparison.pairs import Pair, pairs, same_model
from convsv_cli.deadline import WORDS
from convsv_cli.digits import short
from convsv_cli.report import (
    BOUNDED,
    COMPLETE,
    EFFORTS,
    NOT_APPLICABLE,
    Audit,
    Difference,
    Interval,
    LayerAudit,
    NetworkBound,
    Settings,
)
from convsv_cli.report.comparison import (
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

OTHER_INPUTS = "bounds for other inputs"
OTHER_ENDS = "bounds between other tensors"
SEARCHED = "bounds by the rules alone and with --network-effort"


def same_sizes(old: Audit, new: Audit) -> bool:
    """Whether the networks' inputs have the same sizes, as far as these are known of both."""
    before, after = ([shape for _, shape in audit.model.input_shape] for audit in (old, new))
    if not before or not after:
        return True
    if list(map(len, before)) != list(map(len, after)):
        return False
    sizes = zip(chain.from_iterable(before), chain.from_iterable(after), strict=True)
    return all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in sizes)


def same_range(old: Audit, new: Audit) -> bool:
    """Whether the entries of the networks' inputs are known to be in the same range."""
    return old.settings.input_range == new.settings.input_range


def same_ends(old: Audit, new: Audit) -> bool:
    """Whether the networks are bounded between the same tensors."""
    before, after = old.settings, new.settings
    return (set(before.sources), set(before.targets)) == (set(after.sources), set(after.targets))


def with_effort(asked: Settings, known: Settings) -> Settings:
    """The settings, with tolerance, work limit and search of an earlier audit, as far as it had these."""
    limit = known.work_limit if math.isfinite(known.work_limit) else asked.work_limit
    effort = known.network_effort if known.network_effort in EFFORTS else asked.network_effort
    return replace(asked, tolerance=known.tolerance, work_limit=limit, network_effort=effort)


def audited_like(
    known: Settings, asked: Settings, *, tolerance: float | None, network_effort: str | None = None
) -> Settings:
    """Settings with which a model is audited to be compared with an earlier audit.

    Args:
        known: those of the earlier audit; its effort counts, and its input where none is asked for.
        asked: those that are asked for now.
        tolerance, network_effort: those that are asked for; None for those of the earlier audit.
    """
    settings = with_effort(asked, known)
    return replace(
        settings,
        exact=known.exact,
        tolerance=known.tolerance if tolerance is None else tolerance,
        network_effort=network_effort or settings.network_effort,
        input_size=asked.input_size or known.input_size,
        input_shapes=asked.input_shapes or known.input_shapes,
        input_range=asked.input_range or known.input_range,
        sources=asked.sources or known.sources,
        targets=asked.targets or known.targets,
    )


def unequal_effort(old: Audit, new: Audit) -> str:
    """What makes the bounds of two networks differ where the networks do not; empty for nothing."""
    if old.version != new.version:
        return f"bounds of convsv {old.version or 'of an unknown version'} and {new.version}"
    if "" in (old.bound.effort, new.bound.effort) and old.bound.effort != new.bound.effort:
        return SEARCHED
    for audit, which in ((old, "an earlier"), (new, "a new")):
        if audit.status != COMPLETE:
            return f"{which} bound that was {WORDS[audit.status]}"
    asked: dict[str, tuple[float | str, float | str]] = {
        "--tolerance": (old.settings.tolerance, new.settings.tolerance),
        "--work-limit": (old.settings.work_limit, new.settings.work_limit),
        "--exact": (old.settings.exact, new.settings.exact),
        "--network-effort": (old.bound.effort, new.bound.effort),
    }
    other = [f"{option} {_said(a)} and {_said(b)}" for option, (a, b) in asked.items() if a != b]
    return f"bounds with {', '.join(other)}" if other else ""


def _said(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return ("off", "on")[value] if isinstance(value, bool) else short(value)


def difference(old: Audit, new: Audit) -> Difference:
    """Both audits, and what has changed."""
    return Difference(version=__version__, old=old, new=new, changes=changes(old, new))


def changes(old: Audit, new: Audit) -> tuple[Change, ...]:
    """The network's, then each layer's; those that were removed come last."""
    return (_network(old, new), *_layers(old, new))


def _network(old: Audit, new: Audit) -> Change:
    before, after = _bound(old.bound), _bound(new.bound)
    reason = ""
    if before is None or after is None:
        kind = NOT_AUDITED
    elif not same_ends(old, new):
        kind, reason = NOT_COMPARABLE, OTHER_ENDS
    elif not (same_range(old, new) and same_sizes(old, new)):
        kind, reason = NOT_COMPARABLE, OTHER_INPUTS
    elif reason := unequal_effort(old, new):
        kind = SAME if same_model(old, new) else NOT_COMPARABLE
        reason = "" if before == after else reason
    else:
        kind = _growth(before.upper, after.upper)
    return Change(name="", before="", kind=kind, old=before, new=after, reason=reason)


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
