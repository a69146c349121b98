"""Norms and bounds measured again, step by step, where a limit lies within what is proven of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from convsv_cli import deadline
from convsv_cli.auditing.guarding import guarded, stored_weight_of
from convsv_cli.auditing.measure import COARSE, bound_of
from convsv_cli.auditing.plan import Meter
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import Layer
from convsv_cli.model.network import Network
from convsv_cli.report import (
    AUDITED,
    BOUNDED,
    COVARIANCE,
    QUICK,
    Audit,
    Interval,
    LayerAudit,
    Measurement,
    NetworkBound,
    Settings,
)
from convsv_cli.spectral.norms import norms_of

STEPS = 3
FINER, LONGER = 0.1, 2.0
"""Factors of tolerance and work limit, step by step."""
FINEST = 1e-7
"""The smallest relative width: the next digit takes a hundred times as long."""
REUSE = 4
"""How often a layer may count in a network's bound, in the guess of what refining might gain."""


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
    return reduce_kernel(stored_weight_of(layer).to(device), layer.geometry)


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
