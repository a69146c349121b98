"""Documents of `spectrum`, schema 1.0."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from convsv_cli import report
from convsv_cli.wire.form import Count, Counts, Finite, Form, Text, Texts, members
from convsv_cli.wire.layer import LayerStatus
from convsv_cli.wire.request import Shape, Tool

SCHEMA_VERSION = "1.0"


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
    """All singular values of chosen layers, with circular padding."""

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
