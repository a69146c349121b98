"""How singular values are distributed: sums and a histogram, kept while they stream by."""

from __future__ import annotations

import math
import sys

import torch

from convsv_cli.report import Distribution
from convsv_cli.spectral.spectrum import ACCURACY, Block


class Tally:
    """Adds up blocks of singular values."""

    def __init__(self, *, upper: float, bins: int) -> None:
        """From a proven upper end of all values, which the histogram ends at: so one pass will do."""
        self._edge = min(upper, sys.float_info.max)
        self._histogram = torch.zeros(bins, dtype=torch.int64)
        self._count = self._vanishing = 0
        self._largest, self._smallest = 0.0, math.inf
        self._sum = self._squares = 0.0  # in units of the edge, so that no square over- or underflows

    def add(self, block: Block) -> None:
        """Count a block's values in."""
        bins = len(self._histogram)
        relative = block.values / (self._edge or 1.0)
        times = block.multiplicity.to(torch.float64)  # exact below 2^53
        index = (relative * bins).to(torch.int64).clamp(max=bins - 1)  # rounding may leave one above the edge
        weights = times[:, None].expand_as(relative).flatten()
        self._histogram += torch.bincount(index.flatten(), weights, bins).to(torch.int64)
        self._vanishing += int(((relative <= ACCURACY).sum(1) * block.multiplicity).sum())
        self._count += block.count
        self._largest = max(self._largest, float(block.values.max()))
        self._smallest = min(self._smallest, float(block.values.min()))
        self._sum += float(relative.sum(1) @ times)
        self._squares += float(relative.square().sum(1) @ times)

    def distribution(self) -> Distribution:
        """Of all values so far, at least one."""
        return Distribution(
            count=self._count,
            largest=self._largest,
            smallest=self._smallest,
            frobenius=self._edge * math.sqrt(self._squares),
            nuclear=self._edge * self._sum,
            vanishing=self._vanishing,
            edge=self._edge,
            histogram=tuple(self._histogram.tolist()),
        )
