"""Documents of `report` about the results of a sweep, schema 1.0."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from convsv_cli import report
from convsv_cli.wire.form import Count, Form, Norm, Text, Tool, identifier, members

SCHEMA_VERSION = "1.0"
SCHEMA = identifier("sweep", SCHEMA_VERSION)


class File(Form, frozen=True, kw_only=True):
    """A model file.

    Attributes:
        path: As it was found.
        status: incomplete is an audit in which some layers have no figures; gone, of a file that is no longer
            there.
        same_as: The path of the same file under which it was audited.
        reason: Why it failed, or is incomplete.
        exit_code: Of convsv audit.
        layers: Rows of the audit.
        audited: Layers with figures.
        largest_layer: The layer of the largest certified norm.
        largest: That norm, an upper bound.
        bound: Whether the network has a bound; null where there is no audit.
        lipschitz: Certified bound of the network; null where there is none, or it is no finite number.
        log10: Its logarithm.
        outlier: In which way the file is far above the others.
    """

    path: str
    status: Literal["audited", "incomplete", "failed", "same", "gone"]
    same_as: Text
    reason: Text
    exit_code: Count
    layers: Count
    audited: Count
    largest_layer: Text
    largest: Norm
    bound: Text
    lipschitz: Norm
    log10: float | None
    outlier: Text


class Step(Form, frozen=True, kw_only=True):
    """A file of a series.

    Attributes:
        number: The number in its path.
        path: One of those in files.
    """

    number: Count
    path: str


class Series(Form, frozen=True, kw_only=True):
    """Files whose paths differ in their last number alone.

    Attributes:
        name: The path, with * for the number.
        norms: The last of the largest norms as a multiple of the first.
        bounds: The last of the networks' bounds as a multiple of the first.
    """

    name: str
    steps: tuple[Step, ...]
    norms: Norm
    bounds: Norm


class Sweep(Form, frozen=True, kw_only=True):
    """The results of a sweep.

    Attributes:
        schema: What the schema of the document is called.
        results: The folder.
        files: By path.
        series: By name.
    """

    schema: Annotated[str, Meta(extra_json_schema={"const": SCHEMA})] = field(name="$schema", default=SCHEMA)
    schema_version: Annotated[str, Meta(pattern=r"^1\.")]
    tool: Tool
    command: Literal["report"]
    results: str
    files: tuple[File, ...]
    series: tuple[Series, ...]


def document(found: report.Sweep) -> dict[str, Any]:
    """The JSON object."""
    series = tuple(
        Series(
            name=each.name,
            steps=tuple(Step(number=step.number, path=step.file.path) for step in each.steps),
            norms=each.norms,
            bounds=each.bounds,
        )
        for each in found.series
    )
    form = Sweep(
        schema_version=SCHEMA_VERSION,
        tool=Tool(version=found.version),
        command="report",
        results=found.path,
        files=tuple(map(File.of, found.files)),
        series=series,
    )
    return members(form)
