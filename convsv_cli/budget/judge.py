"""A budget and an audit become gates: which limits there are, and what is proven against each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from pathlib import Path

from convsv_cli.budget.baseline import Baseline, Ratchet, baseline_of, certified
from convsv_cli.budget.configuration import Budget, Limit, names_of
from convsv_cli.comparison import Pair
from convsv_cli.deadline import WORDS
from convsv_cli.digits import short
from convsv_cli.errors import UsageError
from convsv_cli.report import (
    AUDITED,
    BOUNDED,
    COMPLETE,
    EXCEEDED,
    IGNORED,
    INVALID,
    MISSING,
    NOT_APPLICABLE,
    PASSED,
    QUANTISED,
    STEPS,
    UNDECIDED,
    Audit,
    Gate,
    Interval,
    LayerAudit,
    NetworkBound,
    PairBound,
)
from convsv_cli.saved import read

NO_NUMBER = "the limit is not a finite number"
UNENCLOSED = "its norm was not enclosed"
LOOSE = "the limit lies within the proven interval, and refining did not decide"
GROWTH = (
    "it was between {} and {} in the baseline, so it may or may not have grown by more than allowed;"
    " a baseline with a smaller --tolerance may decide"
)
ONE_OF = "it may be {} of the baseline, or new: neither its name nor its weight tells"
NAMED = 3
"""How many layers are named where it may be one of several."""
LOOSER = "{} while the limit lay within the proven interval"
SHORT = "{}, and more time may prove a smaller figure"
UNEQUAL = "{} cannot be compared: audit both models with the same settings and version"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What does not change from model to model.

    Attributes:
        budget: of the configuration.
        today: the day that ignores expire by.
        baseline: what the model may not be worse than; None for anything.
    """

    budget: Budget
    today: date
    baseline: Baseline | None = None

    def gates(self, audit: Audit) -> tuple[Gate, ...]:
        """One for each limit that applies: the network's, its pairs', then the layers' in their order.

        Raises:
            UsageError: the baseline does not speak of the same thing.
        """
        ratchet = None if self.baseline is None else self.baseline.beside(audit)
        network = (*self._network_gates(audit.bound, ratchet), *self._pair_gates(audit.bound))
        gates = (*network, *self._layer_gates(audit, ratchet))
        return gates if audit.status == COMPLETE else tuple(_left_open(g, audit.status) for g in gates)

    def ignored_by(self, row: LayerAudit) -> int | None:
        """Number of the first ignore that covers a layer and has not expired; None for no such.

        What is no valid weight, nobody can ignore.
        """
        if row.status == INVALID:
            return None
        covering = (i for i in self.budget.ignoring.all(names_of(row)) if not self.expired(i))
        return next(covering, None)

    def expired(self, ignore: int) -> bool:
        """Whether an ignore covers nothing any more: its day is over."""
        expires = self.budget.ignores[ignore].expires
        return expires is not None and self.today > expires

    def origin(self, gate: Gate) -> str:
        """Where a limit is from: "baseline" or "budget"."""
        path = self.baseline.path if self.baseline else None
        return "baseline" if gate.place is not None and gate.place.path == path else "budget"

    def _network_gates(self, bound: NetworkBound, ratchet: Ratchet | None) -> Iterator[Gate]:
        if self.budget.network is not None:
            yield network_gate(bound, self.budget.network)
        if ratchet is not None and (before := ratchet.network()) is not None:
            yield network_gate(bound, before, ratchet)
        for quantity, limit in ((QUANTISED, self.budget.quantised), (STEPS, self.budget.steps)):
            if limit is not None:
                yield quantised_gate(bound, limit, quantity)

    def _pair_gates(self, bound: NetworkBound) -> Iterator[Gate]:
        """Of the pairs whose tensors the network has, as the audit says."""
        known = {(pair.start, pair.end): pair for pair in bound.pairs}
        for budget in self.budget.pairs:
            pair = known.get((budget.start, budget.end))
            if pair is not None:
                yield pair_gate(pair, budget.limit)

    def _layer_gates(self, audit: Audit, ratchet: Ratchet | None) -> Iterator[Gate]:
        for row in audit.layers:
            own, before = self._limit(row), None if ratchet is None else ratchet.layer(row)
            gates = [] if own is None else [layer_gate(row, own)]
            if before is not None:
                gates.append(layer_gate(row, before, ratchet))
            ignore = self.ignored_by(row)
            for gate in gates:
                if ignore is None:
                    yield gate
                else:
                    reason = self.budget.ignores[ignore].reason
                    yield replace(gate, outcome=IGNORED, reason=reason)

    def _limit(self, row: LayerAudit) -> Limit | None:
        """Of the budget; what is no layer has none, unless a baseline knows it as one."""
        if row.status == NOT_APPLICABLE:
            return None
        first = self.budget.globs.first(names_of(row))
        return self.budget.layer if first is None else self.budget.layers[first].limit


def judges(
    budget: Budget, baseline: Path | None, increase: float | None, models: Sequence[Path], *, strict: bool
) -> Callable[[Path], Judge]:
    """Gives the judge of each of some models, today.

    Args:
        budget: what all are held against.
        baseline: the saved report of earlier audits, if they are held against that, too.
        increase: share by which norms and bounds may grow; None where nobody said.
        models: all of them.
        strict: whether layers that are new, or gone, are errors.

    Raises:
        ConvsvError: the baseline cannot be read, or is missing; for a model, that it has no audit of it.
    """
    judge = Judge(budget=budget, today=datetime.now(timezone.utc).date())
    if baseline is None:
        for option, given in (("--max-increase", increase is not None), ("--baseline-strict", strict)):
            if given:
                raise UsageError(f"{option} needs a --baseline to compare with")
        return lambda _model: judge
    path, saved = str(baseline), read(baseline)

    def with_baseline(model: Path) -> Judge:
        others = {str(other) for other in models if other != model}
        found = baseline_of(str(model), saved, path, increase or 0.0, others=others)
        if found is None:
            raise UsageError(f"the baseline {path} has no audit of this model, or several", where=str(model))
        return replace(judge, baseline=replace(found, strict=strict))

    return with_baseline


def growth_judge(path: str, old: Audit, increase: float) -> Judge:
    """The judge of how much norms and the bound have grown, and of nothing else.

    Args:
        path: of the earlier audit, or of its model.
        old: that audit.
        increase: share by which they may grow.
    """
    baseline = Baseline(path=path, audit=old, increase=increase)
    return Judge(budget=Budget(path=""), today=date.max, baseline=baseline)


def _left_open(gate: Gate, status: str) -> Gate:
    """A gate of an audit that ended early: a network's bound exceeds no limit, for more may be proven."""
    if gate.reason == LOOSE:
        return replace(gate, reason=LOOSER.format(WORDS[status]))
    if gate.outcome != EXCEEDED or gate.node:
        return gate
    return replace(gate, outcome=UNDECIDED, reason=SHORT.format(WORDS[status]))


def outcome(enclosure: Interval, limit: float, lower: float | None = None) -> str:
    """What an enclosure of a norm says about its limit, which may be as small as `lower`.

    Nothing keeps a limit that is infinite or NaN.
    """
    if enclosure.upper <= (limit if lower is None else lower) < math.inf:
        return PASSED
    return EXCEEDED if enclosure.lower > limit else UNDECIDED


def layer_gate(row: LayerAudit, limit: Limit, ratchet: Ratchet | None = None) -> Gate:
    """The gate of one layer; `ratchet` where the limit is the baseline's."""
    blank = Gate(
        node=row.name, limit=limit.value, limit_lower=limit.lower, outcome=MISSING, place=limit.place
    )
    measured = row.measurement("certified")
    if not math.isfinite(limit.value):
        return replace(blank, reason=NO_NUMBER)
    if row.status != AUDITED or measured is None or measured.enclosure is None:
        return replace(blank, reason=row.reason or UNENCLOSED)
    if ratchet is not None:
        return _compared(replace(blank, enclosure=ratchet.proven(row, measured.enclosure)), ratchet.pair(row))
    decided = outcome(measured.enclosure, limit.value)
    reason = LOOSE if decided == UNDECIDED else ""
    return replace(blank, enclosure=measured.enclosure, outcome=decided, reason=reason)


def _compared(gate: Gate, pair: Pair) -> Gate:
    """The gate of a baseline, decided: by what is proven of both norms, or as the layer has not changed."""
    enclosure = gate.enclosure or Interval()
    if pair.same_map and enclosure.upper <= gate.limit:
        return replace(gate, outcome=PASSED)
    decided = outcome(enclosure, gate.limit, gate.limit_lower)
    if decided != PASSED and pair.candidates:
        names = " or ".join(repr(row.name) for row in pair.candidates[:NAMED])
        return replace(gate, outcome=UNDECIDED, reason=ONE_OF.format(names))
    before = certified(pair.old)
    reason = ""
    if decided == UNDECIDED and before:
        reason = GROWTH.format(short(before.lower), short(before.upper))
    return replace(gate, outcome=decided, reason=reason)


def network_gate(bound: NetworkBound, limit: Limit, ratchet: Ratchet | None = None) -> Gate:
    """The gate of the network; `ratchet` where the limit is the baseline's.

    A Lipschitz bound has no certified lower end, so that it exceeds its limit as soon as its upper end does:
    what is gated is what is proven, not what is true. Of a baseline, that is a comparison only where both
    bounds were made with the same effort.
    """
    blank = Gate(node="", limit=limit.value, outcome=MISSING, place=limit.place)
    if not math.isfinite(limit.value):
        return replace(blank, reason=NO_NUMBER)
    if bound.status != BOUNDED or math.isnan(bound.lipschitz):
        return replace(blank, reason=_why_unbounded(bound))
    enclosure = Interval(upper=bound.lipschitz) if ratchet is None else ratchet.bound(bound)
    unequal = "" if ratchet is None else ratchet.incomparable()
    if unequal:
        return replace(blank, enclosure=enclosure, outcome=UNDECIDED, reason=UNEQUAL.format(unequal))
    kept = outcome(enclosure, limit.value) == PASSED
    return replace(blank, enclosure=enclosure, outcome=PASSED if kept else EXCEEDED)


def quantised_gate(bound: NetworkBound, limit: Limit, quantity: str) -> Gate:
    """The gate of one of both terms of |f(x) - f(y)| <= L |x - y| + A, which a network that rounds has.

    For one with a Lipschitz bound, that is L, and A is nothing. Where one of both terms is not known, the
    other is of no use.
    """
    blank = Gate(node="", limit=limit.value, outcome=MISSING, place=limit.place, quantity=quantity)
    if not math.isfinite(limit.value):
        return replace(blank, reason=NO_NUMBER)
    found = bound.quantised
    if bound.status == BOUNDED and not math.isnan(bound.lipschitz):
        terms = bound.lipschitz, 0.0
    elif found is None or not (math.isfinite(found.lipschitz) and math.isfinite(found.added)):
        return replace(blank, reason=(found.reason if found else "") or _why_unbounded(bound))
    else:
        terms = found.lipschitz, found.added
    proven = terms[quantity == STEPS]
    kept = outcome(Interval(upper=proven), limit.value) == PASSED
    return replace(blank, enclosure=Interval(upper=proven), outcome=PASSED if kept else EXCEEDED)


def pair_gate(pair: PairBound, limit: Limit) -> Gate:
    """The gate of a pair of tensors, as of a network."""
    blank = Gate(
        node="", limit=limit.value, outcome=MISSING, place=limit.place, start=pair.start, end=pair.end
    )
    if not math.isfinite(limit.value):
        return replace(blank, reason=NO_NUMBER)
    if not math.isfinite(pair.lipschitz):
        return replace(blank, reason=pair.reason)
    enclosure = Interval(upper=pair.lipschitz)
    kept = outcome(enclosure, limit.value) == PASSED
    return replace(blank, enclosure=enclosure, outcome=PASSED if kept else EXCEEDED)


def _why_unbounded(bound: NetworkBound) -> str:
    if not bound.obstacles:
        return bound.reason or "the network has no certified Lipschitz bound"
    first, count = bound.obstacles[0], len(bound.obstacles)
    more = f" and {count - 1} more" if count > 1 else ""
    return f"no certified Lipschitz bound, because of {first.node}{more} ({first.op}: {first.reason})"
