"""Two audits of what may be the same network, layer by layer."""

from __future__ import annotations

from convsv_cli.comparison.changes import Change, changes
from convsv_cli.comparison.pairs import Pair, pairs

__all__ = ["Change", "Pair", "changes", "pairs"]
