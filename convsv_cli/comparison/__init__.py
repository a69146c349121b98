"""Two audits of what may be the same network, layer by layer."""

from __future__ import annotations

from convsv_cli.comparison.pairs import Pair, geometry, pairs

__all__ = ["Pair", "geometry", "pairs"]
