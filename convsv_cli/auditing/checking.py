"""An audit against a budget: what the budget leaves undecided is measured more closely first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from convsv_cli import deadline
from convsv_cli.auditing import Progress, audit_network, loaded
from convsv_cli.auditing.guarding import guarded, weight_of
from convsv_cli.auditing.measure import COARSE, bound_of
from convsv_cli.auditing.plan import Meter, declared, plan, resolve_device
from convsv_cli.auditing.reaching import reached
from convsv_cli.auditing.summary import ended_early, findings, totals
from convsv_cli.budget import Judge, PairBudget, judged
from convsv_cli.cache import Entries
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.lipschitz.ends import fault_of_pair
from convsv_cli.lipschitz.pairs import because
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import Layer
from convsv_cli.model.network import Network
from convsv_cli.report import (
    ABSENT,
    AUDITED,
    BOUNDED,
    COVARIANCE,
    EXCEEDED,
    INTERRUPTED,
    NOTE,
    QUICK,
    UNDECIDED,
    Audit,
    Finding,
    Gate,
    Interval,
    LayerAudit,
    Measurement,
    NetworkBound,
    PairBound,
    Settings,
)
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.spectral.norms import norms_of

STEPS = 3
FINER, LONGER = 0.1, 2.0
"""Factors of tolerance and work limit, step by step."""
FINEST = 1e-7
"""The smallest relative width: the next digit takes a hundred times as long."""
REUSE = 4
"""How often a layer may count in a network's bound, in the guess of what refining might gain."""


def check_file(
    model: str | Path,
    judge: Judge,
    settings: Settings,
    *,
    graph: str | Path | None = None,
    progress: Progress | None = None,
    cache: Entries | None = None,
) -> Audit:
    """Audit a model file and judge it.

    Args:
        model, settings, graph, progress, cache: as in `audit_file`.
        judge: the limits.

    Raises:
        UnreadableModelError, UnsafeModelError, UsageError: as `audit_file` and `check_network`.
    """
    return reached(
        lambda file, place: check_network(loaded(file, settings, place), settings, judge, progress, cache),
        model,
        graph,
    )


def check_network(
    network: Network,
    settings: Settings,
    judge: Judge,
    progress: Progress | None = None,
    cache: Entries | None = None,
) -> Audit:
    """Audit a network and judge it.

    No gate passes on a lower end; none that closer measurements may change fails without them.

    Args:
        network: as a loader gave it, at the input size of `settings`.
        settings: as for an audit.
        judge: the limits.
        progress: called with the layer that is being worked on and the share of all work done, 0 to 1.
        cache: as in `audit_network`; what is measured more closely for a gate is not kept.

    Raises:
        UsageError: as `audit_network`; the baseline does not speak of the same thing.
    """
    network = declared(network, settings)
    audit = audit_network(network, settings, progress, cache)
    absent: tuple[Finding, ...] = ()
    with deadline.ending(), one_thread_each():
        audit = _with_rows_refined(audit, network, judge, progress)
        audit = _with_bound_refined(audit, network, judge, progress)
        audit, absent = _with_pairs(audit, network, judge.budget.pairs, progress)
    rows, bound, status = audit.layers, audit.bound, deadline.outcome() or audit.status
    noted = (*ended_early(status, rows, bound), *findings(rows, bound, network, settings), *absent)
    return judged(judge, replace(audit, findings=noted, network=totals(rows), status=status))


def _with_rows_refined(audit: Audit, network: Network, judge: Judge, progress: Progress | None) -> Audit:
    """Those layers are measured again that some gate leaves undecided."""
    limits: dict[str, list[float]] = {}
    for gate in judge.gates(audit):
        if gate.node and gate.outcome == UNDECIDED:
            limits.setdefault(gate.node, []).extend(_edges(gate))
    device = resolve_device(audit.settings.device)
    meter = Meter(progress, len(limits))
    rows = {row.name: row for row in audit.layers}
    for layer in network.layers:
        if layer.name in limits and isinstance(layer, Layer) and not deadline.ended():
            meter.start(layer.name)
            undecided = _straddles(limits[layer.name])
            rows[layer.name] = refined_row(layer, rows[layer.name], undecided, audit.settings, device)
            meter.advance(1)
    return replace(audit, layers=tuple(rows.values()))


def _with_bound_refined(audit: Audit, network: Network, judge: Judge, progress: Progress | None) -> Audit:
    """The network is bounded again where its bound exceeds a limit that closer norms might keep.

    Not for the baseline's, whose own bound was not refined either.
    """
    device, meter = resolve_device(audit.settings.device), Meter(progress, 1)
    for gate in judge.gates(audit):
        if not gate.node and not gate.aside and gate.outcome == EXCEEDED and judge.origin(gate) == "budget":
            rows, bound = refined_bound(network, audit, gate.limit, device, meter)
            audit = replace(audit, layers=rows, bound=bound)
    return audit


def _with_pairs(
    audit: Audit, network: Network, budgets: Sequence[PairBudget], progress: Progress | None
) -> tuple[Audit, tuple[Finding, ...]]:
    """The audit with the bounds between tensors that have limits, and notes about those that it lacks.

    Each is bounded as a network of its own is, and again where closer norms might keep its limit.
    """
    device, meter = resolve_device(audit.settings.device), Meter(progress, len(budgets))
    work = sum(task.work for task in plan(network, audit.settings)) if budgets else 0
    effort = Effort(level=audit.settings.network_effort, work=work, searches=len(budgets))
    pairs = {(pair.start, pair.end): pair for pair in audit.bound.pairs}
    absent: list[Finding] = []
    for budget in budgets:
        fault = _fault(network, budget)
        if audit.status == INTERRUPTED:
            break
        if fault:
            note = Finding(rule=ABSENT, severity=NOTE, node="", message=fault, place=budget.limit.place)
            absent.append(note)
            continue
        asked = replace(audit.settings, sources=(budget.start,), targets=(budget.end,))
        bound = bound_of(network, audit.layers, asked, device, meter, effort=effort)
        alone = replace(audit, bound=bound, settings=asked)
        rows, bound = refined_bound(network, alone, budget.limit.value, device, meter)
        key, why = (budget.start, budget.end), bound.reason or because(bound.obstacles)
        found = PairBound(start=budget.start, end=budget.end, lipschitz=bound.lipschitz, reason=why)
        known = found if audit.settings.sources else pairs.get(key, found)
        pairs[key] = min(known, found, key=lambda pair: pair.lipschitz)
        audit = replace(audit, layers=rows)
    return replace(audit, bound=replace(audit.bound, pairs=tuple(pairs.values()))), tuple(absent)


def _fault(network: Network, budget: PairBudget) -> str:
    """Why a network has no bound between these tensors; empty where it may have."""
    graph = network.graph
    why = network.graph_missing if graph is None else fault_of_pair(graph, budget.start, budget.end)
    return why and f"no limit from {budget.start!r} to {budget.end!r}: {why}"


def _edges(gate: Gate) -> list[float]:
    """Where closer measurements may decide: of a baseline's limit, both ends."""
    return [gate.limit] if gate.limit_lower is None else [gate.limit_lower, gate.limit]


def _straddles(limits: list[float]) -> Callable[[Interval], bool]:
    return lambda enclosure: any(enclosure.lower <= limit < enclosure.upper for limit in limits)


def finer(settings: Settings) -> Iterator[Settings]:
    """The settings of each step: a smaller tolerance and a larger work limit."""
    least = min(FINEST, settings.tolerance)
    for step in range(1, STEPS + 1):
        yield replace(
            settings,
            tolerance=max(least, settings.tolerance * FINER**step),
            work_limit=settings.work_limit * LONGER**step,
        )


def refined_row(
    layer: Layer,
    row: LayerAudit,
    undecided: Callable[[Interval], bool],
    settings: Settings,
    device: torch.device,
) -> LayerAudit:
    """The row, its certified norm measured again until it is decided or all steps are done.

    A row whose layer may take no more stays as it is.
    """
    for closer in finer(settings):
        if not undecided(_enclosure(row)) or deadline.ended():
            break
        row = _closer(row, layer, closer, device)
    return row


def _closer(row: LayerAudit, layer: Layer, settings: Settings, device: torch.device) -> LayerAudit:
    return guarded(lambda: _measured(row, _kernel(layer, device), settings), lambda _why: row)


def refined_bound(
    network: Network, audit: Audit, limit: float, device: torch.device, meter: Meter
) -> tuple[tuple[LayerAudit, ...], NetworkBound]:
    """Rows and bound, measured again while the bound is above the limit and closer norms might change that.

    The first step is about kernels that folding made, which an audit measures coarsely. Norms are what the
    rules rest on: what the audit has found by covariances is kept, and not searched for again.
    """
    rows, bound, settings = audit.layers, audit.bound, audit.settings
    coarse, closer = COARSE, settings
    for step in finer(settings):
        if not bound.lipschitz > limit or not _may_help(rows, bound, limit, coarse) or deadline.ended():
            break
        found = bound_of(
            network, rows, closer, device, meter, effort=Effort(level=QUICK), tolerance=closer.tolerance
        )
        if found.status == BOUNDED and found.lipschitz < bound.lipschitz:
            bound = replace(
                found,
                empirical=bound.empirical,
                seconds=bound.seconds + found.seconds,
                unrefined=bound.at_settings,
                effort=bound.effort,
            )
        coarse, closer = closer.tolerance, replace(step, work_limit=settings.work_limit)
        if bound.lipschitz > limit and _may_help(rows, bound, limit, coarse):
            rows = tuple(_closer_row(network, row, closer, device) for row in rows)
    return rows, bound


def _may_help(rows: tuple[LayerAudit, ...], bound: NetworkBound, limit: float, coarse: float) -> bool:
    """A guess, on the generous side, from how wide the norms are that the bound is about the product of.

    Blocks that were bounded by covariances do not rest on any.
    """
    together = [block for block in bound.blocks if block.route == COVARIANCE]
    if bound.status != BOUNDED or bound.log10 is None or not limit or len(together) == len(bound.blocks):
        return False
    settled = {name for block in together for name in block.layers}
    widths = (_width(row) + 2 * coarse for row in rows if row.status == AUDITED and row.name not in settled)
    return bound.log10 - math.log10(limit) < REUSE * math.fsum(widths) / math.log(10)


def _width(row: LayerAudit) -> float:
    """Of the certified norm, as a logarithm."""
    enclosure = _enclosure(row)
    if not enclosure.upper:
        return 0.0
    return math.log(enclosure.upper / enclosure.lower) if enclosure.lower else math.inf


def _closer_row(network: Network, row: LayerAudit, settings: Settings, device: torch.device) -> LayerAudit:
    layer = next(layer for layer in network.layers if layer.name == row.name)
    if row.status != AUDITED or not isinstance(layer, Layer):
        return row
    return _closer(row, layer, settings, device)


def _kernel(layer: Layer, device: torch.device) -> Kernel:
    return reduce_kernel(weight_of(layer).to(device), layer.geometry)


def _enclosure(row: LayerAudit) -> Interval:
    measured = row.measurement("certified")
    return Interval() if measured is None or measured.enclosure is None else measured.enclosure


def _measured(row: LayerAudit, kernel: Kernel, settings: Settings) -> LayerAudit:
    """The row with what is now proven of its certified norm, all in all."""
    start = time.perf_counter()
    found = norms_of(kernel).supremum(tolerance=settings.tolerance, limit=settings.work_limit)
    known = _enclosure(row)
    both = Interval(lower=max(known.lower, found.lower), upper=min(known.upper, found.upper))
    measurements = dict(row.measurements)
    before = measurements.get("certified", Measurement(value=both.upper))
    seconds = before.seconds + time.perf_counter() - start
    measurements["certified"] = replace(before, value=both.upper, enclosure=both, seconds=seconds)
    return replace(row, measurements=tuple(measurements.items()))
