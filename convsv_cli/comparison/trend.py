"""The figures of several audits, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convsv_cli.layer_names import plain_names
from convsv_cli.report import CERTIFIED, Audit, LayerAudit, Trend
from convsv_cli.report.trend import Figures


def trend(audits: Sequence[tuple[str, Audit]]) -> Trend:
    """The figures of named audits, side by side."""
    columns = [_column(audit) for _, audit in audits]
    names = dict.fromkeys(name for column in columns for name in column)
    return Trend(
        names=tuple(name for name, _ in audits),
        layers=tuple((name, tuple(column.get(name) for column in columns)) for name in names),
        network=tuple(_finite(audit.bound.lipschitz) for _, audit in audits),
    )


def growth(figures: Figures) -> float | None:
    """The last figure as a multiple of the first; None where there is no such number."""
    if not figures or not figures[0] or figures[-1] is None:
        return None
    return figures[-1] / figures[0]


def _column(audit: Audit) -> dict[str, float | None]:
    plain = plain_names(layer.name for layer in audit.layers)
    return {plain[layer.name]: _norm(audit, layer) for layer in audit.layers}


def _norm(audit: Audit, layer: LayerAudit) -> float | None:
    certified = next((method.name for method in audit.methods if method.kind == CERTIFIED), "")
    measurement = layer.measurement(certified)
    return _finite(measurement.value) if measurement else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
