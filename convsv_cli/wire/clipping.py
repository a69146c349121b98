"""Documents of `clip`, schema 1.0: what became of a model that was brought under limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from convsv_cli import report
from convsv_cli.wire.form import (
    Count,
    Counts,
    Digest,
    Ends,
    Finite,
    Form,
    Norm,
    Text,
    Texts,
    Tool,
    identifier,
    members,
)
from convsv_cli.wire.layer import LayerStatus

SCHEMA_VERSION = "1.0"
SCHEMA = identifier("clip", SCHEMA_VERSION)
Limit = Annotated[float, Meta(gt=0)] | None


class File(Form, frozen=True, kw_only=True):
    """A model.

    Attributes:
        files: All of its files, its own first.
        sha256: Of its file; of several, of what `sha256sum FILE...` prints.
    """

    path: str
    format: str
    files: Texts
    sha256: Digest


class Settings(Form, frozen=True, kw_only=True):
    """What was asked for.

    Attributes:
        max_layer: Limit of each layer's certified norm; null for none.
        max_lipschitz: Limit of the network's certified bound; null for none.
        layers: Globs of the layers that might be changed; empty for all.
        data: Samples of the accuracies.
        batchnorm: Samples by which the statistics of BatchNorm were estimated anew.
    """

    max_layer: Limit
    max_lipschitz: Limit
    method: Literal["clip", "scale"]
    layers: Texts
    data: Text
    batchnorm: Text


class Layer(Form, frozen=True, kw_only=True):
    """A layer.

    Attributes:
        kernel_shape: [c_out, c_in / groups, *k]; [c_in, c_out / groups, *k] where transposed.
        method: What was done with its singular values.
        before: Its certified norm in the model that was read; null for none.
        after: That in the model that was written.
        limit: What the upper end must not exceed; null where there is only a limit of the network.
        change: |W' - W| / |W| in the Frobenius norm; null where W is zero.
        kept: Whether its limit is proven to be kept.
        reason: Why it was not changed, or has no norm.
    """

    name: str
    op: str
    kernel_shape: Counts
    dtype: str
    status: LayerStatus
    method: Literal["clip", "scale", "kept"]
    before: Ends | None
    after: Ends | None
    limit: Limit
    change: Norm
    kept: bool
    reason: Text


class Network(Form, frozen=True, kw_only=True):
    """The certified Lipschitz bound; null for none."""

    before: Norm
    after: Norm
    limit: Limit
    kept: bool
    reason: Text


class Accuracy(Form, frozen=True, kw_only=True):
    """How many samples are classified as they are said to be."""

    samples: Count
    before: Count
    after: Count


class Clipping(Form, frozen=True, kw_only=True):
    """A model that was brought under limits.

    Attributes:
        schema: What the schema of the document is called.
        model: That was read.
        output: That was written.
        network: null where the file has no graph.
        accuracy: null where no samples were given.
        kept: Whether all limits are proven to be kept.
    """

    schema: Annotated[str, Meta(extra_json_schema={"const": SCHEMA})] = field(name="$schema", default=SCHEMA)
    schema_version: Annotated[str, Meta(pattern=r"^1\.")]
    tool: Tool
    command: Literal["clip"]
    model: File
    output: File
    settings: Settings
    layers: tuple[Layer, ...]
    network: Network | None
    accuracy: Accuracy | None
    kept: bool
    notes: Texts
    seconds: Finite


def document(found: report.Clipping) -> dict[str, Any]:
    """The JSON object."""
    known = found.lipschitz_after is not None
    network = Network(
        before=found.lipschitz_before,
        after=found.lipschitz_after,
        limit=found.settings.max_lipschitz,
        kept=found.network_kept,
        reason=found.unbounded or None,
    )
    form = Clipping.of(
        found,
        schema=SCHEMA,
        schema_version=SCHEMA_VERSION,
        tool=Tool(version=found.version),
        command="clip",
        layers=tuple(map(_layer, found.layers)),
        network=network if known else None,
    )
    return members(form)


def _layer(layer: report.ClippedLayer) -> Layer:
    row = layer.row
    return Layer.of(
        layer,
        name=row.name,
        op=row.op,
        kernel_shape=row.kernel_shape,
        dtype=row.dtype,
        status=row.status,
    )
