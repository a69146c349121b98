"""A numeric ratchet: what an earlier audit has proven, and by how much that may grow."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import PurePath

from convsv_cli.budget.configuration import Limit
from convsv_cli.comparison import Pair, pairs, same_ends, same_model, same_range, same_sizes, unequal_effort
from convsv_cli.digits import short
from convsv_cli.errors import UsageError
from convsv_cli.report import AUDITED, BOUNDED, Audit, Interval, LayerAudit, NetworkBound, Place, Report

ROUNDING = 1 + 1e-9
"""What two machines may differ by that do the same."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An earlier audit of the model.

    Attributes:
        path: of the saved report.
        audit: as it was.
        increase: share by which norms and bounds may grow, 0 or more.
        strict: whether layers that are new, or gone, are errors.

    Raises:
        UsageError: the share is negative, infinite or NaN.
    """

    path: str
    audit: Audit
    increase: float = 0.0
    strict: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.increase < math.inf:
            raise UsageError(f"norms may grow by a finite share of at least 0, not by {self.increase}")

    def beside(self, audit: Audit) -> Ratchet:
        """The limits that this baseline sets to a new audit.

        Raises:
            UsageError: the two do not speak of the same thing.
        """
        old, new = self.audit.settings, audit.settings
        if old.as_stride_1 != new.as_stride_1:
            raise UsageError("the baseline was made with --as-stride-1", where=self.path)
        for which, settings, path in (("baseline", old, self.path), ("report", new, audit.model.path)):
            if settings.layers:
                raise UsageError(
                    f"the {which} was made with --layers, so it covers only some layers", where=path
                )
        ratchet = Ratchet(baseline=self, audit=audit)
        if ratchet.pairs and not any(pair.old and pair.new for pair in ratchet.pairs):
            hint = "is it of another network?"
            raise UsageError(f"the baseline has no layer of {audit.model.path}", where=self.path, hint=hint)
        if self.audit.bound.status == BOUNDED:
            self._check_inputs(audit)
        return ratchet

    def _check_inputs(self, audit: Audit) -> None:
        """Complain where the bound of the network is for other inputs than those of a new audit."""
        old, new = self.audit, audit
        if not same_ends(old, new):
            asked = old.settings
            hint = " ".join([*(f"--from {s}" for s in asked.sources), *(f"--to {t}" for t in asked.targets)])
            what = "the baseline holds between other tensors"
            raise UsageError(what, where=self.path, hint=f"use its own: {hint or 'no --from, no --to'}")
        if not same_range(old, new):
            known = old.settings.input_range
            hint = f"use the same --input-range: {','.join(short(end) for end in known) if known else 'none'}"
            raise UsageError("the baseline holds for another input range", where=self.path, hint=hint)
        if new.bound.status == BOUNDED and not same_sizes(old, new):
            shapes = [f"{name}:{'x'.join(map(str, shape))}" for name, shape in old.model.input_shape]
            hint = "use the same: " + " ".join(f"--input-shape {shape}" for shape in shapes)
            raise UsageError("the baseline holds for another input size", where=self.path, hint=hint)


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
    def _shared(self) -> dict[int, Limit | None]:
        """By the identity of candidates, which many layers have in common."""
        return {}

    @cached_property
    def _by_name(self) -> dict[str, Pair]:
        return {pair.new.name: pair for pair in self.pairs if pair.new is not None}

    def pair(self, row: LayerAudit) -> Pair:
        """A layer of the new audit, and what it was."""
        return self._by_name[row.name]

    def layer(self, row: LayerAudit) -> Limit | None:
        """The limit of a layer's norm; None where nothing was proven of it before.

        Where it may be one of several layers, it surely keeps only what it would of each.
        """
        pair = self._by_name[row.name]
        if pair.old is not None:
            return self._limit_of((pair.old,))
        if id(pair.candidates) not in self._shared:
            self._shared[id(pair.candidates)] = self._limit_of(pair.candidates)
        return self._shared[id(pair.candidates)]

    def _limit_of(self, before: tuple[LayerAudit, ...]) -> Limit | None:
        known = [ends for ends in map(certified, before) if ends is not None and math.isfinite(ends.upper)]
        if not known:
            return None
        return self._limit(max(ends.upper for ends in known), min(ends.lower for ends in known))

    def network(self) -> Limit | None:
        """The limit of the network's bound; None likewise."""
        bound = self.baseline.audit.bound
        if bound.status != BOUNDED or not math.isfinite(bound.at_settings):
            return None
        return self._limit(bound.at_settings)

    def unheld(self) -> Iterator[str]:
        """What has a place in the baseline, but no finite figure there that could be a limit.

        Names of layers that were audited now; of the network, which is "", where its bound was infinite.
        """
        if self.baseline.audit.bound.status == BOUNDED and self.network() is None:
            yield ""
        for row in self.audit.layers:
            if row.status == AUDITED and self._by_name[row.name].old and self.layer(row) is None:
                yield row.name

    def proven(self, row: LayerAudit, enclosure: Interval) -> Interval:
        """The enclosure, and what the baseline proves of the norm where the layer is still the same map."""
        pair = self._by_name[row.name]
        known = certified(pair.old) if pair.same_map else None
        if known is None or known.upper < enclosure.lower:
            return enclosure
        return Interval(lower=enclosure.lower, upper=min(enclosure.upper, known.upper))

    def bound(self, bound: NetworkBound) -> Interval:
        """What is proven of the network with the effort of the baseline; of the same file by either.

        With one effort, a file has one bound up to rounding; where a report says otherwise, it is of no use.
        """
        old, upper = self.baseline.audit, bound.at_settings
        known = old.bound.at_settings
        if same_model(old, self.audit) and (unequal_effort(old, self.audit) or upper <= known * ROUNDING):
            upper = min(upper, known)
        return Interval(upper=upper)

    def incomparable(self) -> str:
        """Why bounds of the network tell nothing of its growth; empty where they do."""
        old, new = self.baseline.audit, self.audit
        return "" if same_model(old, new) else unequal_effort(old, new)

    def _limit(self, upper: float, lower: float | None = None) -> Limit:
        place = Place(path=self.baseline.path, line=1)
        return Limit(
            value=self._grown(upper), lower=None if lower is None else self._grown(lower), place=place
        )

    def _grown(self, norm: float) -> float:
        return _rounded_down(Fraction(norm) * (1 + Fraction(self.baseline.increase)))


def baseline_of(
    model: str, saved: Report, path: str, increase: float, *, others: Collection[str] = ()
) -> Baseline | None:
    """The part of a saved report that is about a model; None where it has none.

    That is the audit of its path, else that of its file name, unless that is the path of one of the `others`
    that are checked beside it; else, where there are no others, the only one.
    """
    name = PurePath(model).name
    same = [audit for audit in saved.audits if audit.model.path == model]
    left = [audit for audit in saved.audits if audit.model.path not in others]
    alike = [audit for audit in left if PurePath(audit.model.path).name == name]
    for found in (same, alike, () if others else saved.audits):
        if len(found) == 1:
            return Baseline(path=path, audit=found[0], increase=increase)
    return None


def certified(row: LayerAudit | None) -> Interval | None:
    """What an audit has proven of a layer's norm at every input size; None where nothing."""
    measured = None if row is None else row.measurement("certified")
    return None if measured is None else measured.enclosure


def _rounded_down(value: Fraction) -> float:
    """The largest finite number in double precision that is not above it: what a limit may be."""
    if value >= sys.float_info.max:
        return sys.float_info.max
    nearest = float(value)
    return math.nextafter(nearest, 0.0) if nearest > value else nearest
