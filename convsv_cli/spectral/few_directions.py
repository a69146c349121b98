"""Searches of a kernel by the few directions in which its symbol can be large, as far as it has such."""

from __future__ import annotations

from functools import cached_property

import torch

from convsv_cli.spectral.ascent import Peaks, turns_of
from convsv_cli.spectral.compressed_grid import compressed_grid
from convsv_cli.spectral.compressed_supremum import compressed_supremum
from convsv_cli.spectral.compressed_waves import Purse, compressed
from convsv_cli.spectral.compression import Compression, is_compressible
from convsv_cli.spectral.costs import Shape
from convsv_cli.spectral.supremum import Supremum
from convsv_cli.spectral.tiles import Tiling

TESTS, LEAST = 100, 1e9
"""Proofs in all directions that such a search may take the time of, and multiplications beside."""
PART = 0.25
"""Of a limit that it may take: another search may have to follow."""


class FewDirections:
    """Of kernels float64 [blocks, c_out, c_in, *k], of norm about 1.

    Searches give None where they find nothing, and what they took to see that is in the purse.
    """

    def __init__(self, weight: torch.Tensor, tiling: Tiling) -> None:
        self._weight, self._tiling = weight, tiling
        self._start: tuple[torch.Tensor, torch.Tensor] | None = None

    def purse(self, limit: float) -> Purse:
        """For a search within a limit."""
        return Purse(min(PART * limit, LEAST + TESTS * float(Shape.of(self._weight).side) ** 3))

    def grid_maximum(self, grid: tuple[int, ...], purse: Purse) -> tuple[float, Peaks] | None:
        """As `compressed_grid`."""
        if self._few is None:
            return None
        found = compressed_grid(self._weight, self._tiling, grid, few=self._few, purse=purse)
        if found:
            self._start = turns_of(found[1].index[0], grid), found[1].vector[0]
        return found

    def supremum(self, tolerance: float, purse: Purse) -> Supremum | None:
        """As `compressed_supremum`, near the largest point of a grid where one is known."""
        if self._few is None:
            return None
        return compressed_supremum(
            self._weight, self._few, self._tiling, tolerance=tolerance, purse=purse, start=self._start
        )

    @cached_property
    def _few(self) -> Compression | None:
        return compressed(self._weight) if is_compressible(self._weight) else None
