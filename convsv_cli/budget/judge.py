"""A budget and an audit become gates: which limits there are, and what is proven against each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

from convsv_cli.budget.baseline import Baseline, Ratchet
from convsv_cli.budget.configuration import Budget, Limit
from convsv_cli.budget.globs import Globs, globs_of
from convsv_cli.report import (
    AUDITED,
    BOUNDED,
    EXCEEDED,
    IGNORED,
    INVALID,
    MISSING,
    PASSED,
    UNDECIDED,
    Audit,
    Gate,
    Interval,
    LayerAudit,
    NetworkBound,
)

NO_NUMBER = "the limit is no finite number"
UNENCLOSED = "its norm was not enclosed"
LOOSE = "the limit lies within what is proven, and refining did not decide"


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
        """One for each limit that applies: the network's, then the layers' in their order.

        Raises:
            UsageError: the baseline does not speak of the same thing.
        """
        ratchet = None if self.baseline is None else self.baseline.beside(audit)
        return (*self._network_gates(audit.bound, ratchet), *self._layer_gates(audit, ratchet))

    def ignored_by(self, row: LayerAudit) -> int | None:
        """Number of the first ignore that covers a layer and has not expired; None for no such.

        What is no valid weight, nobody can ignore.
        """
        if row.status == INVALID:
            return None
        covering = (i for i in self.ignores.all(names_of(row)) if not self.expired(i))
        return next(covering, None)

    def expired(self, ignore: int) -> bool:
        """Whether an ignore covers nothing any more: its day is over."""
        expires = self.budget.ignores[ignore].expires
        return expires is not None and self.today > expires

    @cached_property
    def globs(self) -> Globs:
        """Of the layers' budgets."""
        return globs_of(tuple(layer.match for layer in self.budget.layers))

    @cached_property
    def ignores(self) -> Globs:
        """Of the ignores."""
        return globs_of(tuple(ignore.match for ignore in self.budget.ignores))

    def _network_gates(self, bound: NetworkBound, ratchet: Ratchet | None) -> Iterator[Gate]:
        for limit in (self.budget.network, None if ratchet is None else ratchet.network()):
            if limit is not None:
                yield network_gate(bound, limit)

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
        first = self.globs.first(names_of(row))
        return self.budget.layer if first is None else self.budget.layers[first].limit


def names_of(row: LayerAudit) -> tuple[str, ...]:
    """All names that a glob may mean the layer by."""
    return row.name, row.weight, *row.aliases


def outcome(enclosure: Interval, limit: float) -> str:
    """What an enclosure of a norm says about its limit; nothing keeps one that is infinite or NaN."""
    if enclosure.upper <= limit < math.inf:
        return PASSED
    return EXCEEDED if enclosure.lower > limit else UNDECIDED


def layer_gate(row: LayerAudit, limit: Limit, ratchet: Ratchet | None = None) -> Gate:
    """The gate of one layer; `ratchet` where the limit is the baseline's."""
    blank = Gate(node=row.name, limit=limit.value, outcome=MISSING, place=limit.place)
    measured = row.measurement("certified")
    if not math.isfinite(limit.value):
        return replace(blank, reason=NO_NUMBER)
    if row.status != AUDITED or measured is None or measured.enclosure is None:
        return replace(blank, reason=row.reason or UNENCLOSED)
    enclosure = ratchet.proven(row, measured.enclosure) if ratchet else measured.enclosure
    decided = outcome(enclosure, limit.value)
    return replace(blank, enclosure=enclosure, outcome=decided, reason=LOOSE if decided == UNDECIDED else "")


def network_gate(bound: NetworkBound, limit: Limit) -> Gate:
    """The gate of the network.

    A Lipschitz bound has no certified lower end, so that it exceeds its limit as soon as its upper end does:
    what is gated is what is proven, not what is true.
    """
    blank = Gate(node="", limit=limit.value, outcome=MISSING, place=limit.place)
    if not math.isfinite(limit.value):
        return replace(blank, reason=NO_NUMBER)
    if bound.status != BOUNDED or math.isnan(bound.lipschitz):
        return replace(blank, reason=_why_unbounded(bound))
    enclosure = Interval(upper=bound.lipschitz)
    kept = outcome(enclosure, limit.value) == PASSED
    return replace(blank, enclosure=enclosure, outcome=PASSED if kept else EXCEEDED)


def _why_unbounded(bound: NetworkBound) -> str:
    if not bound.obstacles:
        return bound.reason or "the network has no certified Lipschitz bound"
    first, count = bound.obstacles[0], len(bound.obstacles)
    more = f" and {count - 1} more" if count > 1 else ""
    return f"no certified Lipschitz bound, because of {first.node}{more} ({first.op}: {first.reason})"
