"""Two audits of what may be the same network, layer by layer."""

from __future__ import annotations

from convsv_cli.comparison.changes import (
    audited_like,
    changes,
    difference,
    same_ends,
    same_range,
    same_sizes,
    unequal_effort,
    with_effort,
)
from convsv_cli.comparison.pairs import Pair, pairs, same_model
from convsv_cli.comparison.trends import in_order, side_by_side, trend

__all__ = [
    "Pair",
    "audited_like",
    "changes",
    "difference",
    "in_order",
    "pairs",
    "same_ends",
    "same_model",
    "same_range",
    "same_sizes",
    "side_by_side",
    "trend",
    "unequal_effort",
    "with_effort",
]
