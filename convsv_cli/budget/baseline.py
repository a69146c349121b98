"""A numeric ratchet: what an earlier audit has proven, and by how much that may grow."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import PurePath

from convsv_cli.budget.configuration import Limit
from convsv_cli.comparison import Pair, pairs
from convsv_cli.errors import UsageError
from convsv_cli.report import AUDITED, BOUNDED, Audit, Interval, LayerAudit, Model, Place, Report


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An earlier audit of the model.

    Attributes:
        path: of the saved report.
        audit: as it was.
        increase: share by which certified upper ends may grow, 0 or more.

    Raises:
        UsageError: the share is negative, infinite or NaN.
    """

    path: str
    audit: Audit
    increase: float = 0.0

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
            raise UsageError("the baseline was audited with --as-stride-1", where=self.path)
        if old.layers:
            raise UsageError("the baseline was audited with --layers: it is of some layers", where=self.path)
        if self.audit.bound.status == BOUNDED:
            self._check_inputs(audit)
        ratchet = Ratchet(baseline=self, audit=audit)
        if ratchet.pairs and not any(pair.old and pair.new for pair in ratchet.pairs):
            hint = "is it of another network?"
            raise UsageError(f"the baseline has no layer of {audit.model.path}", where=self.path, hint=hint)
        return ratchet

    def _check_inputs(self, audit: Audit) -> None:
        """Complain where the bound of the network is for other inputs than those of a new audit."""
        old, new = self.audit, audit
        if old.settings.input_range != new.settings.input_range:
            hint = f"use the same --input-range: {old.settings.input_range or 'none'}"
            raise UsageError("the baseline holds for another input range", where=self.path, hint=hint)
        if new.bound.status == BOUNDED and not _alike(old.model, new.model):
            shapes = ", ".join("×".join(map(str, shape)) for _, shape in old.model.input_shape)
            hint = f"use the same --input-size or --input-shape: {shapes}"
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
        known = _certified(pair.old) if pair.same_map else None
        if known is None or known.upper < enclosure.lower:
            return enclosure
        return Interval(lower=enclosure.lower, upper=min(enclosure.upper, known.upper))

    def _limit(self, upper: float) -> Limit:
        value = _rounded_down(Fraction(upper) * (1 + Fraction(self.baseline.increase)))
        return Limit(value=value, place=Place(path=self.baseline.path, line=1))


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


def _alike(old: Model, new: Model) -> bool:
    """Whether the inputs have the same sizes, as far as these are known of both."""
    before, after = ([shape for _, shape in model.input_shape] for model in (old, new))
    if not before or not after:
        return True
    if list(map(len, before)) != list(map(len, after)):
        return False
    sizes = zip(chain.from_iterable(before), chain.from_iterable(after), strict=True)
    return all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in sizes)


def _certified(row: LayerAudit | None) -> Interval | None:
    measured = None if row is None else row.measurement("certified")
    return None if measured is None else measured.enclosure


def _rounded_down(value: Fraction) -> float:
    """The largest finite number in double precision that is not above it: what a limit may be."""
    if value >= sys.float_info.max:
        return sys.float_info.max
    nearest = float(value)
    return math.nextafter(nearest, 0.0) if nearest > value else nearest
