"""How long is searched for a small bound of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convsv_cli.report import NORMAL, QUICK, THOROUGH

LEAST = 3e9
"""Multiplications: about 3 s of one core."""
LONGER = {QUICK: 0.0, NORMAL: 1.0, THOROUGH: 30.0}
"""How long a search takes, as a multiple of the rest of the audit."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long is searched, which no clock decides: same graph, norms and effort, same bound.

    Attributes:
        level: one of `EFFORTS`.
        work: multiplications that the rest of the audit is estimated to take.
        progress: called with the share of the search that is done, 0 to 1; None for nobody.
    """

    level: str = NORMAL
    work: float = 0.0
    progress: Callable[[float], None] | None = None

    @property
    def planned(self) -> float:
        """Multiplications that the search is estimated to take: for a progress bar, no limit."""
        return LONGER[self.level] * max(self.work, LEAST)


DEFAULT = Effort()
