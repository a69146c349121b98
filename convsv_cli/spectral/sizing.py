"""How large the tiles are that a flat symbol is searched with, from its eigenvalue at a few frequencies.

A symbol that is nearly as large everywhere clears hardly any coarse tiles, and most tiles of some finer
size. Proofs at tiles that are too coarse are wasted, and at ones that are too fine there are too many. What
is guessed here is a matter of time alone: no bound rests on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from convsv_cli.spectral.tiles import Tiling

SIZES = tuple(2.0 ** (-step / 4) for step in range(25))
LEVELS = 40


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """What the number of proofs is guessed from.

    Attributes:
        tiling: of the root tiles.
        count: number of these, of all blocks together.
        values: float64 [n], the largest eigenvalue at some frequencies, evenly spread.
        margin: what rounding hides of it in most of the proofs.
    """

    tiling: Tiling
    count: int
    values: torch.Tensor
    margin: float

    def tiles(self, rho: float) -> float:
        """About how many of that size there are."""
        return self.count / rho ** len(self.tiling.active)

    def proofs(self, threshold: Callable[[float], float], rho: float) -> float:
        """About how many there are if tiles have that size at first, and those not cleared are split.

        `threshold` gives, for the radius of a tile, what the eigenvalue at its centre must lie below.
        """
        goal = threshold(0.0)
        tiles, share, total = self.tiles(rho), 1.0, 0.0
        for _ in range(LEVELS):
            total += tiles * share
            level = threshold(self.tiling.radius(rho))
            if self.margin < (goal - level) / 2:  # where it is more, double precision decides
                level -= self.margin
            share = float((self.values >= level).double().mean())
            if not share:
                break
            tiles, rho = tiles * self.tiling.halves, rho / 2
        return total

    def best(self, threshold: Callable[[float], float]) -> tuple[float, float]:
        """The fewest proofs, and the size at first that takes them."""
        return min((self.proofs(threshold, rho), rho) for rho in SIZES)
