"""Singular values of a saved audit."""

from __future__ import annotations

import math

from convsv_cli.report import Distribution, Spectrum
from convsv_cli.saved.value import Value

SLACK = 1 + 1e-6


def spectrum_of(value: Value) -> Spectrum:
    """One layer's, whose figures fit together as far as those who divide by them rely on it."""
    found = Distribution(
        count=value["count"].integer(),
        largest=value["largest"].norm(),
        smallest=value["smallest"].norm(),
        frobenius=value["frobenius"].norm(),
        nuclear=value["nuclear"].norm(),
        vanishing=value["vanishing"].integer(),
        edge=value["edge"].norm(),
        histogram=value["histogram"].integers(),
    )
    if not found.histogram or not 0 < found.count == sum(found.histogram):
        raise value["histogram"].fault("does not hold as many values as there are")
    if not 0 <= found.smallest <= found.largest <= found.edge * SLACK < math.inf:
        raise value["largest"].fault("not between the smallest value and the edge")
    if not found.frobenius <= found.largest * math.sqrt(found.count) * SLACK:
        raise value["frobenius"].fault("larger than that of as many of the largest value")
    if not found.smallest and not found.vanishing:
        raise value["vanishing"].fault("the smallest value is zero, and none is said to be")
    return Spectrum(layer=value["layer"].text(), size=value["size"].integers(), distribution=found)
