"""All singular values of layers, summed up: in audits, and in documents of `spectrum`, schema 1.1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from convsv_cli import report
from convsv_cli.wire.form import (
    ADDED,
    Count,
    Counts,
    Finite,
    Form,
    Shape,
    Text,
    Texts,
    Tool,
    identifier,
    members,
)
from convsv_cli.wire.layer import LayerStatus

SCHEMA_VERSION = "1.1"
SCHEMA = identifier("spectrum", SCHEMA_VERSION)
SLACK = 1 + 1e-6
"""What figures that were rounded may be off by."""


class Model(Form, frozen=True, kw_only=True):
    """The file."""

    path: str
    format: str
    opset: Count | None
    inputs: dict[str, Shape]


class Distribution(Form, frozen=True, kw_only=True):
    """Figures about all singular values of a layer, to about 1e-13 of the largest; not certified.

    Attributes:
        vanishing: How many rounding cannot tell from zero.
        edge: Upper end of the histogram, whose bins are of equal width from 0.
    """

    count: Annotated[int, Meta(ge=1)]
    largest: Finite
    smallest: Finite
    frobenius: Finite
    nuclear: Finite
    vanishing: Count
    edge: Finite
    histogram: Annotated[Counts, Meta(min_length=1)]


class Spectrum(Distribution, frozen=True):
    """One layer's.

    Not being keyword-only, its own fields come before those of the distribution.

    Attributes:
        size: Spatial size of the layer's input; empty for a matrix.
        vanishing: How many rounding cannot tell from zero.
        edge: Upper end of the histogram, whose bins are of equal width from 0.
    """

    layer: str
    size: Counts = ()

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
            yield "the counts of the histogram do not add up to the number of values"
        if not self.smallest <= self.largest <= self.edge * SLACK:
            yield "the largest value is not between the smallest one and the edge"
        if not self.frobenius <= self.largest * math.sqrt(self.count) * SLACK:
            yield "the Frobenius norm is larger than that of as many of the largest value"
        if not self.smallest and not self.vanishing:
            yield "the smallest value is zero, and none is said to be vanishing"


class Layer(Form, frozen=True, kw_only=True):
    """A layer.

    Attributes:
        kernel_shape: [c_out, c_in / groups, *k]; [c_in, c_out / groups, *k] where transposed.
        input_size: Spatial size of the layer's input; null where unknown.
        status: audited, or why there are no figures; the reason says more.
        size: Circular input size that the figures are for; empty for a matrix.
        distribution: null where there is none.
    """

    name: str
    op: str
    kernel_shape: Counts
    input_size: Counts | None
    assumed: Texts
    status: LayerStatus
    reason: Text
    size: Counts
    distribution: Distribution | None


class Spectra(Form, frozen=True, kw_only=True):
    """All singular values of chosen layers, with circular padding.

    Attributes:
        schema: What the schema of the document is called.
    """

    schema: Annotated[str, ADDED, Meta(extra_json_schema={"const": SCHEMA})] = field(
        name="$schema", default=SCHEMA
    )
    schema_version: Annotated[str, Meta(pattern=r"^1\.")]
    tool: Tool
    command: Literal["spectrum"]
    model: Model
    layers: tuple[Layer, ...]
    notes: Texts


def document(found: report.Spectra) -> dict[str, Any]:
    """The JSON object."""
    form = Spectra.of(
        found,
        schema=SCHEMA,
        schema_version=SCHEMA_VERSION,
        tool=Tool(version=found.version),
        command="spectrum",
        model=Model.of(found),
        layers=tuple(map(_layer, found.layers)),
    )
    return members(form)


def _layer(layer: report.LayerSpectrum) -> Layer:
    known = layer.distribution
    return Layer.of(layer.row, size=layer.size, distribution=known and Distribution.of(known))
