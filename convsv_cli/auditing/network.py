"""The bound of the whole network, from the norms that its rows have: all of them, or those it asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch

from convsv_cli.auditing.measure import measure
from convsv_cli.auditing.plan import Meter, plan
from convsv_cli.lipschitz.bound import network_bound
from convsv_cli.lipschitz.norms import Norms, kernel_norm, rows_by_key
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.model.network import Network
from convsv_cli.report import AUDITED, UNKNOWN, LayerAudit, NetworkBound, Settings

SUPPLY = "{}; --graph MODEL.onnx supplies one"
SOME = "only some layers were audited"
AS_STRIDE_1 = "the strides are not the network's own, as asked"
CERTIFIED = ("certified", "bound", "zero_padded")
"""Calculators with certified upper ends that hold for zero padding: at every size, or at the layer's own."""
COARSE = 1e-3
"""Relative width that is good enough for the norms of folded kernels: they are multiplied anyway."""


def bound_of(
    network: Network,
    rows: tuple[LayerAudit, ...],
    settings: Settings,
    device: torch.device,
    meter: Meter,
    *,
    tolerance: float = COARSE,
) -> NetworkBound:
    """The bound of the network, or why there is none.

    `tolerance` is the relative width that is good enough for the norms of kernels that are no rows, unless
    the settings ask for less.
    """
    if network.graph is None:
        return NetworkBound(status=UNKNOWN, reason=SUPPLY.format(network.graph_missing))
    if settings.layers or settings.as_stride_1:
        return NetworkBound(status=UNKNOWN, reason=SOME if settings.layers else AS_STRIDE_1)
    meter.start("the whole network")
    known = {row.name: row for row in rows}
    norms = norms_of(network, lambda name: _certified(known[name]), settings, device, tolerance)
    return network_bound(network.graph, norms, settings.input_range)


def norms_on_demand(
    network: Network,
    settings: Settings,
    device: torch.device,
    progress: Callable[[str, float], None] | None,
) -> Norms:
    """The norms of a network, those of rows as an audit has them, each measured when first asked for."""
    tasks = {task.layer.name: task for task in plan(network, settings)}
    meter = Meter(progress, sum(task.work for task in tasks.values()))

    @cache
    def row(name: str) -> LayerAudit:
        task = tasks[name]
        proofs = tuple(each for each in task.calculators if each.method.name in CERTIFIED)
        return measure(replace(task, calculators=proofs), device, meter)

    return norms_of(network, lambda name: _certified(row(name)), settings, device)


def norms_of(
    network: Network,
    of_row: Callable[[str], float],
    settings: Settings,
    device: torch.device,
    tolerance: float = COARSE,
) -> Norms:
    """The norms of rows, and of other kernels to this relative width, unless the settings ask for less."""
    of_kernel = partial(
        kernel_norm,
        tolerance=max(tolerance, settings.tolerance),
        work_limit=settings.work_limit,
        device=device,
    )
    return Norms(rows=rows_by_key(network.layers), of_row=of_row, of_kernel=of_kernel)


def _certified(row: LayerAudit) -> float:
    """The least upper end that is proven of a row's norm.

    Raises:
        UnboundedError: there is none.
    """
    if row.status != AUDITED:
        raise UnboundedError(row.reason)
    upper = min(_uppers(row), default=math.inf)
    if not math.isfinite(upper):
        raise UnboundedError("its norm has no certified upper end")
    return upper


def _uppers(row: LayerAudit) -> list[float]:
    measured = [row.measurement(name) for name in CERTIFIED]
    return [m.enclosure.upper for m in measured if m is not None and m.enclosure is not None]
