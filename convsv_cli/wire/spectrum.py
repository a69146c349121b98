"""All singular values of a layer, summed up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from convsv_cli import report
from convsv_cli.wire.form import Count, Counts, Finite, Form

SLACK = 1 + 1e-6


class Spectrum(Form, frozen=True, kw_only=True):
    """One layer's.

    Attributes:
        size: Spatial size of the layer's input; empty for a matrix.
        vanishing: How many rounding cannot tell from zero.
        edge: Upper end of the histogram, whose bins are of equal width from 0.
    """

    layer: str
    size: Counts = ()
    count: Annotated[int, Meta(ge=1)]
    largest: Finite
    smallest: Finite
    frobenius: Finite
    nuclear: Finite
    vanishing: Count
    edge: Finite
    histogram: Annotated[Counts, Meta(min_length=1)]

    @classmethod
    def filled(cls, spectrum: report.Spectrum) -> Spectrum:
        """The form of a spectrum."""
        return cls.of(spectrum.distribution, layer=spectrum.layer, size=spectrum.size)

    @property
    def spectrum(self) -> report.Spectrum:
        """As a value.

        Raises:
            ValueError: figures do not fit together, as far as those who divide by them rely on it.
        """
        for fault in self._faults():
            raise ValueError(f"spectra: {self.layer}: {fault}")
        return report.Spectrum(layer=self.layer, size=self.size, distribution=self.made(report.Distribution))

    def _faults(self) -> Iterator[str]:
        if self.count != sum(self.histogram):
            yield "the histogram does not hold as many values as there are"
        if not self.smallest <= self.largest <= self.edge * SLACK:
            yield "the largest value is not between the smallest one and the edge"
        if not self.frobenius <= self.largest * math.sqrt(self.count) * SLACK:
            yield "the Frobenius norm is larger than that of as many of the largest value"
        if not self.smallest and not self.vanishing:
            yield "the smallest value is zero, and none is said to be vanishing"
