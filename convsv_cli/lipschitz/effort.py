"""How long is searched for a small bound of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from convsv_cli.report import NORMAL, QUICK, THOROUGH

LEAST = 8e10
"""Multiplications of a search of about 3 s on two cores."""
PACE = 30
"""Multiplications of a search, which are products of matrices, in the time of one of the layers' norms."""
BACKWARD = 3
"""How many times the work of a pass one with its derivatives is."""
MOST_STEPS = {QUICK: 0, NORMAL: 60, THOROUGH: 400}
"""Steps of one search."""
DENSE = {QUICK: 0.0, NORMAL: 1.5e10, THOROUGH: 2.5e12}
"""Multiplications that the part of a network may cost that is bounded entry by entry."""
PASS = {QUICK: 1e10, NORMAL: 8e11, THOROUGH: 6e12}
"""Multiplications that one pass over a stretch of a network may cost; its state is made coarser for that.

ResNet-20 takes 4e9, and ResNet-18 at 224 x 224 7e11: with less, its bound is hardly below that of rules."""
ROOM = {QUICK: 2.0**25, NORMAL: 2.0**27, THOROUGH: 2.0**27}
"""Numbers that the blocks of a step may hold: of complex ones 0.5 GB, and 2 GB."""
MOST_NODES = {QUICK: 2000, NORMAL: 2000, THOROUGH: 20_000}
"""Of a network that is bounded by covariance propagation: a few passes go over all of them in any case."""
LONGER = {QUICK: 0.0, NORMAL: 1.0, THOROUGH: 100.0}
"""How long a search takes, as a multiple of the rest of the audit."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long is searched, which no clock decides: same graph, norms and effort, same bound.

    Attributes:
        level: one of `EFFORTS`.
        work: multiplications that the rest of the audit is estimated to take.
        progress: called with the share of the search that is done, 0 to 1; None for nobody.
        searches: that share the time.
    """

    level: str = NORMAL
    work: float = 0.0
    progress: Callable[[float], None] | None = None
    searches: int = 1

    @property
    def patience(self) -> float:
        """How many times as much as usual a model may take, for users who ask for that."""
        return max(1.0, LONGER[self.level])

    @property
    def planned(self) -> float:
        """Multiplications of norms that take as long as the search: for a progress bar."""
        return LONGER[self.level] * max(self.work, LEAST / PACE)

    @property
    def most(self) -> float:
        """Multiplications that one pass over a stretch of a network may cost."""
        return PASS[self.level]

    @property
    def room(self) -> float:
        """Numbers that the blocks of a step may hold; twice as many however coarse they are."""
        return ROOM[self.level]

    def steps(self, work: float) -> int:
        """Steps of a search in which a pass costs so many multiplications."""
        return min(MOST_STEPS[self.level], int(self.planned * PACE / (BACKWARD * work * self.searches)))

    def bears(self, nodes: int) -> bool:
        """Whether a network of so many nodes is bounded by covariance propagation."""
        return nodes <= MOST_NODES[self.level]

    @property
    def dense(self) -> float:
        """Multiplications that the part of a network may cost that is bounded entry by entry."""
        return DENSE[self.level]

    @property
    def thorough(self) -> bool:
        """Whether the search goes on until it stops gaining."""
        return self.level == THOROUGH

    def part(self, start: float, end: float) -> Effort:
        """The same for a part of the search: from that share of it to that one."""
        return replace(self, progress=lambda share: self.tell(start + (end - start) * share))

    def tell(self, share: float) -> None:
        """Whoever wants to know, that this share of the search is done."""
        if self.progress is not None:
            self.progress(share)


DEFAULT = Effort()
