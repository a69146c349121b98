"""How the singular values of a layer are distributed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convsv_cli.report.layer import LayerAudit


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


@dataclass(frozen=True, kw_only=True)
class LayerSpectrum:
    """A layer and its distribution of singular values, or why there is none.

    Attributes:
        row: the layer, as in an audit, with its status and reason.
        size: circular input size that the values are for; () for a matrix.
        distribution: None where the status is not "audited".
    """

    row: LayerAudit
    size: tuple[int, ...] = ()
    distribution: Distribution | None = None


@dataclass(frozen=True, kw_only=True)
class Spectra:
    """All singular values of chosen layers of a model, summed up.

    Attributes:
        version: of convsv.
        path, format, opset: of the file; `opset` is None for other formats than ONNX.
        inputs: name and shape of each graph input.
        notes: what a reader should know, in plain words.
        layers: those chosen, in the order of the file.
    """

    version: str
    path: str
    format: str
    opset: int | None
    inputs: tuple[tuple[str, tuple[int | str, ...]], ...]
    notes: tuple[str, ...]
    layers: tuple[LayerSpectrum, ...]
