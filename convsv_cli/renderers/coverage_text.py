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


def percentage(share: float) -> str:
    """A share of the whole in whole percent: neither all nor nothing unless it is that."""
    return f"{share:.0%}" if share in (0, 1) else f"{min(99, max(1, round(100 * share)))}%"
