"""The bound of the whole network, from the norms that its rows have."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from convsv_cli.auditing.meter import Meter
from convsv_cli.lipschitz.bound import network_bound
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.weights import kernel_norm
from convsv_cli.network import Network
from convsv_cli.report import AUDITED, UNKNOWN, LayerAudit, NetworkBound, Settings

SUPPLY = "{}; --graph MODEL.onnx supplies one"
SOME = "only some layers were audited"
AS_STRIDE_1 = "the strides are not the network's own, as asked"
ALL_SIZES = ("certified", "bound")
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
    return network_bound(
        network.graph,
        _layer_norms(rows),
        partial(
            kernel_norm,
            tolerance=max(tolerance, settings.tolerance),
            work_limit=settings.work_limit,
            device=device,
        ),
        settings.input_range,
    )


def _layer_norms(rows: tuple[LayerAudit, ...]) -> Callable[[str], float]:
    known = {row.name: row for row in rows}

    def norm(name: str) -> float:
        row = known[name]
        if row.status != AUDITED:
            raise UnboundedError(row.reason)
        upper = min(_uppers(row), default=math.inf)
        if not math.isfinite(upper):
            raise UnboundedError("its norm has no certified upper end")
        return upper

    return norm


def _uppers(row: LayerAudit) -> list[float]:
    """Certified upper ends that hold for zero padding: at every size, or at the layer's own."""
    measured = [row.measurement(name) for name in (*ALL_SIZES, "zero_padded")]
    return [m.enclosure.upper for m in measured if m is not None and m.enclosure is not None]
