"""How the singular values of a layer are distributed."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Figures about all singular values of a matrix, in floating point.

    Attributes:
        count: number of singular values, the smaller side of the matrix.
        largest, smallest: of them.
        frobenius: root of the sum of their squares.
        nuclear: their sum.
        vanishing: number of those that rounding cannot tell from zero.
        edge: upper end of the histogram.
        histogram: counts in bins of equal width from 0 to `edge`; each bin has its lower end, the last both.
    """

    count: int
    largest: float
    smallest: float
    frobenius: float
    nuclear: float
    vanishing: int
    edge: float
    histogram: tuple[int, ...]

    @property
    def rms(self) -> float:
        """The root mean square of the singular values."""
        return self.frobenius / math.sqrt(self.count)

    @property
    def condition(self) -> float:
        """The largest singular value divided by the smallest; infinite where some are vanishing."""
        return math.inf if self.vanishing else self.largest / self.smallest

    @property
    def stable_rank(self) -> float:
        """(Frobenius norm / spectral norm)^2: about how many values matter; 0 for the zero matrix."""
        return (self.frobenius / self.largest) ** 2 if self.largest else 0.0


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """A layer's singular values, with circular padding.

    Attributes:
        layer: its name.
        size: spatial size of its input; () for a matrix.
        distribution: figures about them.
    """

    layer: str
    size: tuple[int, ...]
    distribution: Distribution
