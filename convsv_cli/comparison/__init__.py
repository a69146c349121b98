"""Two audits of what may be the same network, layer by layer."""

from __future__ import annotations

from convsv_cli.comparison.changes import Change, changes
from convsv_cli.comparison.pairs import Pair, pairs
from convsv_cli.comparison.trend import Trend, trend

__all__ = ["Change", "Pair", "Trend", "changes", "pairs", "trend"]
