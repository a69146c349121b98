"""An audit against a budget: what the budget leaves undecided is measured more closely first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from convsv_cli.auditing import audit_network
from convsv_cli.auditing.declared import declared
from convsv_cli.auditing.meter import Meter
from convsv_cli.auditing.plan import resolve_device
from convsv_cli.auditing.refine import refined_bound, refined_row
from convsv_cli.auditing.summary import findings, totals
from convsv_cli.budget import Judge, judged
from convsv_cli.model.layer import Layer
from convsv_cli.model.network import Network
from convsv_cli.report import EXCEEDED, UNDECIDED, Audit, Gate, Interval, Settings
from convsv_cli.spectral.cores import one_thread_each

Progress = Callable[[str, float], None]


def check_network(
    network: Network, settings: Settings, judge: Judge, progress: Progress | None = None
) -> Audit:
    """Audit a network and judge it.

    No gate passes on a lower end; none that closer measurements may change fails without them.

    Args:
        network: as a loader gave it, at the input size of `settings`.
        settings: as for an audit.
        judge: the limits.
        progress: called with the layer that is being worked on and the share of all work done, 0 to 1.

    Raises:
        UsageError: as `audit_network`; the baseline does not speak of the same thing.
    """
    network = declared(network, settings)
    audit = audit_network(network, settings, progress)
    with one_thread_each():
        audit = _with_rows_refined(audit, network, judge, progress)
        audit = _with_bound_refined(audit, network, judge, progress)
    noted = findings(audit.layers, audit.bound, network, settings)
    return judged(judge, replace(audit, findings=noted, network=totals(audit.layers)))


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
        if layer.name in limits and isinstance(layer, Layer):
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
        if not gate.node and gate.outcome == EXCEEDED and judge.origin(gate) == "budget":
            rows, bound = refined_bound(network, audit, gate.limit, device, meter)
            audit = replace(audit, layers=rows, bound=bound)
    return audit


def _edges(gate: Gate) -> list[float]:
    """What closer measurements may tell a norm from: of a baseline's limit, both ends."""
    return [gate.limit] if gate.limit_lower is None else [gate.limit_lower, gate.limit]


def _straddles(limits: list[float]) -> Callable[[Interval], bool]:
    return lambda enclosure: any(enclosure.lower <= limit < enclosure.upper for limit in limits)
