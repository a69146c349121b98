"""What was audited, by whom, and what for."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from convsv_cli.report import TOLERANCE
from convsv_cli.wire.form import (
    ADDED,
    Count,
    Counts,
    Digest,
    Form,
    Norm,
    Pair,
    Text,
    Texts,
    in_order,
)

FORMATS = ["onnx", "checkpoint", "pickled_module", "torchscript", "safetensors", "pt2"]
"""What the schema says there are; reports of newer versions may have more, and are read."""
Format = Annotated[str, Meta(extra_json_schema={"enum": FORMATS})]
Shape = tuple[Count | str, ...]
Tolerance = Annotated[float, Meta(ge=0, extra_json_schema={"exclusiveMinimum": 0})]


class Tool(Form, frozen=True, kw_only=True):
    """The program that wrote the document."""

    name: Literal["convsv"] = "convsv"
    version: str = ""


class Model(Form, frozen=True, kw_only=True):
    """The file.

    Attributes:
        sha256: Of the file; of a model in several files, of the lines that sha256sum prints for `files`, in
            that order.
        input_shape: By the name of the graph's input.
        files_sha256: Of each of `files`; null for one that is missing and was not needed. Absent for a single
            file.
    """

    path: str
    format: Format
    sha256: Digest = ""
    files: Texts = ()
    opset: Count | None = None
    input_shape: dict[str, Shape] = field(default_factory=dict)
    files_sha256: tuple[Digest | None, ...] | UnsetType = UNSET


class Settings(Form, frozen=True, kw_only=True):
    """What the user asked for, as far as it decides the figures.

    Attributes:
        tolerance: Relative width of an enclosure that is good enough.
        work_limit: Multiplications after which a search stops; null for none.
        input_range: What the inputs are known to be in; null: anything.
        empirical: "random", or the file of inputs at which the network was run; null where it was not.
        spectra: Globs of the layers of which all singular values were asked for.
        as_layer: Globs of weights that the user says are layers.
        as_table: Globs of weights that the user says are tables of look-ups.
    """

    exact: bool = False
    input_size: Counts | None = None
    input_shapes: dict[str, Counts] = field(default_factory=dict)
    layers: Texts = ()
    as_stride_1: bool = False
    device: str = "cpu"
    tolerance: Tolerance = TOLERANCE
    work_limit: Norm = None
    input_range: Pair | None = None
    empirical: Text = None
    spectra: Annotated[Texts, ADDED] = ()
    as_layer: Annotated[Texts, ADDED] = ()
    as_table: Annotated[Texts, ADDED] = ()
    dtype: Annotated[str, Meta(extra_json_schema={"const": "float64"})] = "float64"

    def __post_init__(self) -> None:
        if self.input_range:
            in_order(*self.input_range, of="of input_range ")
