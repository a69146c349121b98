"""What has become of layers and of the network over many audits, such as those of a training."""

from __future__ import annotations

import fnmatch
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

from convsv_cli.comparison.changes import unequal_effort
from convsv_cli.errors import UsageError
from convsv_cli.names import glob_forms, plain_names
from convsv_cli.report import BOUNDED, CERTIFIED, IGNORED, Audit, LayerAudit, NetworkBound, Report, Trend
from convsv_cli.report.comparison import Figures

T = TypeVar("T")
MOST_FIGURES = 4_000_000
NUMBER = re.compile(r"[0-9]+")
PARTS = re.compile(r"([^0-9]*)([0-9]{1,18}|$)")
"""Words and numbers of a name."""


def trend(audits: Sequence[tuple[str, Audit]]) -> Trend:
    """The figures of named audits, side by side.

    Raises:
        UsageError: they are more than anybody reads: many audits, each of other layers.
    """
    columns = [_column(audit) for _, audit in audits]
    bounded = [audit for _, audit in audits if audit.bound.status == BOUNDED]
    reasons = (unequal_effort(old, new) for old, new in pairwise(bounded))
    names = dict.fromkeys(name for column in columns for name in column)
    limits = [_limits(audit) for _, audit in audits]
    if len(names) * len(columns) > MOST_FIGURES:
        what = f"{len(names):,} layers of {len(columns):,} audits are too many side by side"
        raise UsageError(what, hint=f"at most {MOST_FIGURES:,} figures: compare some of the reports")
    return Trend(
        names=tuple(name for name, _ in audits),
        layers=tuple((name, tuple(column.get(name) for column in columns)) for name in names),
        network=tuple(_finite(audit.bound.lipschitz) for _, audit in audits),
        reason=next(filter(None, reasons), ""),
        limits=tuple(tuple(limit.get(name) for limit in limits) for name in names),
        network_limits=tuple(limit.get("") for limit in limits),
        routes=tuple(_routes(audit.bound) for _, audit in audits),
    )


def in_order(audits: Sequence[tuple[str, T]]) -> list[tuple[str, T]]:
    """By their names, with numbers in these as numbers: epoch2 comes before epoch10."""
    return sorted(audits, key=lambda each: (_natural(each[0]), each[0]))


def _natural(name: str) -> tuple[tuple[str, int], ...]:
    """Its words, and the number that comes after each."""
    return tuple((words, int(number or -1)) for words, number in PARTS.findall(name))


def side_by_side(reports: Sequence[tuple[str, Report]], layers: Sequence[str] = ()) -> tuple[Report, Trend]:
    """Named reports as one, and the figures of all their audits: each has the name of its report.

    Where a report is of several models, their paths tell them apart. Reports whose names differ in numbers
    alone, such as those of epochs, are put in the order of these, as shells put 10 before 2.

    Args:
        reports: in any order.
        layers: globs of those that the figures are wanted of; none for all.
    """
    if len({NUMBER.sub("", name) for name, _ in reports}) == 1:
        reports = in_order(reports)
    named = [
        (name if len(one.audits) == 1 else f"{name}: {audit.model.path}", audit)
        for name, one in reports
        for audit in one.audits
    ]
    commands = {one.command for _, one in reports}
    together = Report(
        command=commands.pop() if len(commands) == 1 else "report",
        audits=tuple(audit for _, audit in named),
        failures=tuple(failure for _, one in reports for failure in one.failures),
    )
    return together, _chosen(trend(named), layers) if layers else trend(named)


def _chosen(whole: Trend, globs: Sequence[str]) -> Trend:
    """Of all layers, those that some glob matches."""
    forms = re.compile("|".join(fnmatch.translate(form) for glob in globs for form in glob_forms(glob)))
    kept = [i for i, (name, _) in enumerate(whole.layers) if forms.match(name)]
    return replace(
        whole,
        layers=tuple(whole.layers[i] for i in kept),
        limits=tuple(whole.limits[i] for i in kept),
    )


def growth(figures: Figures) -> float | None:
    """The last figure as a multiple of the first; None where there is no such number."""
    if not figures or not figures[0] or figures[-1] is None:
        return None
    return figures[-1] / figures[0]


def _limits(audit: Audit) -> dict[str, float]:
    """The least limit of each layer, by its plain name, and of the network, whose name is empty."""
    plain = plain_names(layer.name for layer in audit.layers)
    found: dict[str, float] = {}
    for gate in audit.verdict.gates if audit.verdict else ():
        name = plain.get(gate.node, gate.node)
        if not gate.aside and gate.outcome != IGNORED and math.isfinite(gate.limit):
            found[name] = min(gate.limit, found.get(name, math.inf))
    return found


def _routes(bound: NetworkBound) -> str:
    """How many blocks were bounded by which route."""
    counts = Counter(block.route for block in bound.blocks if block.route)
    return ", ".join(
        f"{route} ({count:,} block{'s' if count > 1 else ''})" for route, count in counts.most_common()
    )


def _column(audit: Audit) -> dict[str, float | None]:
    plain = plain_names(layer.name for layer in audit.layers)
    return {plain[layer.name]: _norm(audit, layer) for layer in audit.layers}


def _norm(audit: Audit, layer: LayerAudit) -> float | None:
    certified = next((method.name for method in audit.methods if method.kind == CERTIFIED), "")
    measurement = layer.measurement(certified)
    return _finite(measurement.value) if measurement else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
