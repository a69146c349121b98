"""How much of a network was audited, in words: the same for every format that people read."""

from __future__ import annotations

from convsv_cli.report import AUDITED, NOT_APPLICABLE, Audit, LayerAudit

KINDS = {NOT_APPLICABLE: "not applicable"}
"""Statuses that are other words where people read them."""


def covered(audit: Audit) -> str:
    """Of the rows that are layers, how many were audited; and how many are none."""
    others = len(audit.layers) - audit.applicable
    beside = f", {others} not applicable" if others else ""
    return f"{audit.audited} of {audit.applicable} weight layers audited{beside}"


def status(layer: LayerAudit) -> str:
    """What became of a layer."""
    return KINDS.get(layer.status, layer.status)


def why_no_figures(layer: LayerAudit) -> str:
    """What became of it, and why; empty for a layer with figures."""
    return "" if layer.status == AUDITED else f"{status(layer)}: {layer.reason}"
