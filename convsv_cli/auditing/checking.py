"""An audit against a budget: what the budget leaves undecided is measured more closely first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from convsv_cli import deadline
from convsv_cli.auditing import Progress, audit_network, loaded, reached
from convsv_cli.auditing.measure import bound_of
from convsv_cli.auditing.plan import Meter, declared, plan, resolve_device
from convsv_cli.auditing.refining import refined_bound, refined_row
from convsv_cli.auditing.summary import ended_early, findings, totals
from convsv_cli.budget import Judge, PairBudget, judged
from convsv_cli.cache import Entries
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.lipschitz.ends import fault_of_pair
from convsv_cli.lipschitz.pairs import because
from convsv_cli.model.layer import Layer
from convsv_cli.model.network import Network
from convsv_cli.report import (
    ABSENT,
    EXCEEDED,
    INTERRUPTED,
    NOTE,
    UNDECIDED,
    Audit,
    Finding,
    Gate,
    Interval,
    PairBound,
    Settings,
)
from convsv_cli.spectral.cores import one_thread_each


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
