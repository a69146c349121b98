"""A numeric ratchet: what an earlier audit has proven, and by how much that may grow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

from convsv_cli.budget.configuration import Limit
from convsv_cli.comparison import Pair, pairs
from convsv_cli.errors import UsageError
from convsv_cli.report import BOUNDED, Audit, Interval, LayerAudit, Place, Report


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An earlier audit of the model.

    Attributes:
        path: of the saved report.
        audit: as it was.
        increase: share by which certified upper ends may grow, 0 or more.
    """

    path: str
    audit: Audit
    increase: float = 0.0

    def beside(self, audit: Audit) -> Ratchet:
        """The limits that this baseline sets to a new audit.

        Raises:
            UsageError: the two do not speak of the same thing.
        """
        old, new = self.audit.settings, audit.settings
        if old.as_stride_1 != new.as_stride_1:
            raise UsageError("the baseline was audited with --as-stride-1", where=self.path)
        if old.input_range != new.input_range and self.audit.bound.status == BOUNDED:
            hint = f"use the same --input-range: {old.input_range or 'none'}"
            raise UsageError("the baseline holds for another input range", where=self.path, hint=hint)
        return Ratchet(baseline=self, audit=audit)


@dataclass(frozen=True, kw_only=True)
class Ratchet:
    """A baseline beside a new audit."""

    baseline: Baseline
    audit: Audit

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The layers of both."""
        return pairs(self.baseline.audit, self.audit)

    @cached_property
    def _by_name(self) -> dict[str, Pair]:
        return {pair.new.name: pair for pair in self.pairs if pair.new is not None}

    def layer(self, row: LayerAudit) -> Limit | None:
        """The limit of a layer's norm; None where nothing was proven of it before."""
        known = _certified(self._by_name[row.name].old)
        return None if known is None or not math.isfinite(known.upper) else self._limit(known.upper)

    def network(self) -> Limit | None:
        """The limit of the network's bound; None likewise."""
        bound = self.baseline.audit.bound
        if bound.status != BOUNDED or not math.isfinite(bound.lipschitz):
            return None
        return self._limit(bound.lipschitz)

    def proven(self, row: LayerAudit, enclosure: Interval) -> Interval:
        """The enclosure, and what the baseline proves of the norm where the layer is still the same map."""
        pair = self._by_name[row.name]
        known = _certified(pair.old) if pair.same_map else None
        if known is None or known.upper < enclosure.lower:
            return enclosure
        return Interval(lower=enclosure.lower, upper=min(enclosure.upper, known.upper))

    def _limit(self, upper: float) -> Limit:
        return Limit(value=upper * (1 + self.baseline.increase), place=Place(path=self.baseline.path, line=1))


def baseline_of(
    model: str, saved: Report, path: str, increase: float, *, alone: bool = True
) -> Baseline | None:
    """The part of a saved report that is about a model; None where it has none.

    That is the audit of its path, else that of its file name, else, where the model is `alone`, the only one.
    """
    name = PurePath(model).name
    same = [audit for audit in saved.audits if audit.model.path == model]
    alike = [audit for audit in saved.audits if PurePath(audit.model.path).name == name]
    for found in (same, alike, saved.audits if alone else ()):
        if len(found) == 1:
            return Baseline(path=path, audit=found[0], increase=increase)
    return None


def _certified(row: LayerAudit | None) -> Interval | None:
    measured = None if row is None else row.measurement("certified")
    return None if measured is None else measured.enclosure
