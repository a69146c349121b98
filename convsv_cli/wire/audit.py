"""Documents of `audit` and `check`, schema 2.0; those of schema 1.x are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from convsv_cli import report
from convsv_cli.report import TOLERANCE
from convsv_cli.version import __version__
from convsv_cli.wire.form import (
    Count,
    Counts,
    Digest,
    Finite,
    Form,
    Known,
    Norm,
    Pair,
    Shape,
    Text,
    Texts,
    Tool,
    identifier,
    in_order,
    members,
    read,
)
from convsv_cli.wire.layer import KINDS, Layer, Method, Product
from convsv_cli.wire.network import Network
from convsv_cli.wire.spectra import Spectrum
from convsv_cli.wire.verdict import Finding, Verdict

FORMATS = ["onnx", "checkpoint", "pickled_module", "torchscript", "safetensors", "pt2", "module", "adapter"]
"""What the schema says there are; reports of newer versions may have more, and are read."""
Format = Annotated[str, Meta(extra_json_schema={"enum": FORMATS})]
LONGEST_PATH = 4096
"""Characters, as Linux has it. Some formats write the path of the model once a layer."""
MOST_AUDITS = 10_000
"""In a document."""
Tolerance = Annotated[float, Meta(ge=0, extra_json_schema={"exclusiveMinimum": 0})]


class Model(Form, frozen=True, kw_only=True):
    """The file.

    Attributes:
        sha256: Of the file; of a model in several files, of the lines that sha256sum prints for `files`, in
            that order. Empty for a remote model that was not read as a whole.
        input_shape: By the name of the graph's input.
        files_sha256: Of each of `files`; null for one that is missing and was not needed. Absent for a single
            file.
    """

    path: str
    format: Format
    sha256: Known = ""
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
        network_effort: How long to search for a small bound of the network: quick, normal or thorough; null
            in reports of versions that did not search.
        sources: Tensors that the bound of the network is from; empty for all inputs.
        targets: Tensors that it is to; empty for all outputs.
        spread: Whether layers say how their singular values spread.
        attention: "auto", or how many heads attention has, H or H:K; null where its products were not asked
            for.
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
    spectra: Texts = ()
    as_layer: Texts = ()
    as_table: Texts = ()
    dtype: Annotated[str, Meta(extra_json_schema={"const": "float64"})] = "float64"
    network_effort: Text = None
    sources: Texts = field(name="from", default=())
    targets: Texts = field(name="to", default=())
    spread: bool = False
    attention: Text = None

    def __post_init__(self) -> None:
        if self.input_range:
            in_order(*self.input_range, of="of input_range ")


SCHEMA_VERSION = "2.0"
SCHEMA = identifier("audit", SCHEMA_VERSION)
KNOWN = re.compile(r"[12]\.[0-9]{1,9}")
"""The versions that are read."""
OTHERS = ("certify", "diff", "methods", "report", "spectrum")
"""Commands whose documents are none of these, and have versions of their own."""


class Summary(Form, frozen=True, kw_only=True):
    """The audit in three figures."""

    layers: Count = 0
    audited: Count = 0
    seconds: Finite = 0.0


class Audit(Form, frozen=True, kw_only=True):
    """One audit.

    Attributes:
        tool: By which it was made.
        methods: All methods that there are, in the order of the columns.
        verdict: What a budget makes of the audit; null where none was asked for.
        spectra: All singular values of chosen layers, with circular padding; not certified.
        products: With --attention, those of the matrices of each head.
        status: complete; interrupted: Ctrl-C ended it, and rows to which it did not get have no figures;
            time_limit: --time-limit ended its searches. Every figure is proven however it ended.
    """

    tool: Tool = Tool()
    model: Model
    settings: Settings = Settings()
    methods: tuple[Method, ...] = ()
    layers: tuple[Layer, ...] = ()
    network: Network = Network()
    findings: tuple[Finding, ...] = ()
    verdict: Verdict | None = None
    spectra: tuple[Spectrum, ...] = ()
    products: tuple[Product, ...] | UnsetType = UNSET
    summary: Summary = Summary()
    status: Literal["complete", "interrupted", "time_limit"] = "complete"

    @classmethod
    def filled(cls, audit: report.Audit) -> Audit:
        """The form of an audit."""
        outcome = audit.verdict and report.conclusion(audit.verdict, audit.findings)
        return cls.of(
            audit,
            tool=Tool(version=audit.version),
            layers=tuple(map(Layer.filled, audit.layers)),
            network=Network.filled(audit.network, audit.bound),
            verdict=audit.verdict and Verdict.of(audit.verdict, outcome=outcome),
            spectra=tuple(map(Spectrum.filled, audit.spectra)),
            products=tuple(map(Product.of, audit.products)) or UNSET,
            summary=Summary(layers=len(audit.layers), audited=audit.audited, seconds=audit.seconds),
        )

    def audit(self, methods: Sequence[report.Method], version: str) -> report.Audit:
        """As a value.

        Args:
            methods: those of reports that do not say.
            version: of convsv, likewise.

        Raises:
            ValueError: it is none that convsv writes.
        """
        self._check()
        said = tuple(method.method for method in self.methods if method.name in KINDS)
        methods = said or tuple(methods)
        layers = tuple(layer.layer({method.name for method in methods}) for layer in self.layers)
        return self.made(
            report.Audit,
            version=self.tool.version or version,
            methods=methods,
            layers=layers,
            network=self.network.totals(layers, [method.name for method in methods if method.column]),
            bound=self.network.bound(layers),
            seconds=self.summary.seconds,
            spectra=tuple(spectrum.spectrum for spectrum in self.spectra),
            products=() if self.products is UNSET else tuple(p.made(report.Product) for p in self.products),
        )

    def _check(self) -> None:
        """See that what is written again and again is short, and that no list makes as many of another."""
        if len(self.model.path) > LONGEST_PATH:
            raise ValueError(f"model: a path longer than {LONGEST_PATH} characters")
        if len({method.name for method in self.methods}) < len(self.methods):
            raise ValueError("methods: one of them is there twice")


class Failure(Form, frozen=True, kw_only=True):
    """A model that could not be read."""

    path: str
    message: str
    exit_code: Count


class Head(Form, frozen=True, kw_only=True):
    """What every document begins with, of which those of schema 1.x lack the first."""

    schema: Annotated[str, Meta(extra_json_schema={"const": SCHEMA})] = field(name="$schema", default=SCHEMA)
    schema_version: Annotated[str, Meta(extra_json_schema={"pattern": r"^2\.[0-9]+$"})]
    tool: Tool = Tool()
    command: str = "audit"


class Report(Head, frozen=True, kw_only=True):
    """One run of a command, about any number of models.

    Attributes:
        schema: What the schema of the document is called.
        tool: By which the document was written.
        command: `audit`, `check` ...
        audits: One a model that could be read, in the order given.
        failures: The other models.
    """

    audits: tuple[Audit, ...]
    failures: tuple[Failure, ...]


def document(found: report.Report) -> dict[str, Any]:
    """The JSON object: lists of audits and of failures, however many there are."""
    alone = found.audits[0] if len(found.audits) == 1 and not found.failures else None
    form = Report(
        schema_version=SCHEMA_VERSION,
        tool=Tool(version=alone.version if alone else __version__),
        command=found.command,
        audits=tuple(map(Audit.filled, found.audits)),
        failures=tuple(map(Failure.of, found.failures)),
    )
    return members(form)


def report_of(document: object, methods: Sequence[report.Method]) -> report.Report:
    """The report in a JSON value of any schema that there has been; what a newer one adds is not looked at.

    Args:
        document: as the strict parser gives it.
        methods: those of reports that do not say.

    Raises:
        ValueError: there is none; the message begins with the place in the document.
    """
    if not isinstance(document, dict) or document.get("schema_version") is None:
        raise ValueError("$: not a report of convsv: no schema_version")
    head = read(document, Head)
    _check(head)
    found = _read_1(document, head) if head.schema_version.startswith("1.") else read(document, Report)
    if len(found.audits) > MOST_AUDITS:
        raise ValueError(f"$.audits: more than {MOST_AUDITS:,}")
    return report.Report(
        command=head.command,
        audits=tuple(audit.audit(methods, head.tool.version) for audit in found.audits),
        failures=tuple(failure.made(report.Failure) for failure in found.failures),
    )


def _read_1(document: dict[str, Any], head: Head) -> Report:
    """Schema 1.x: the fields of a single audit stand at the top; several, or failures, are lists."""
    if document.get("audits") is None and document.get("failures") is None:
        audits = (read(document, Audit),)
        return Report(schema_version=head.schema_version, audits=audits, failures=())
    return read({"audits": [], "failures": [], **document}, Report)


def _check(head: Head) -> None:
    """Whether it is of a version that is read; documents of other commands have versions of their own."""
    if head.command in OTHERS:
        raise ValueError(f"$.command: a document of convsv {head.command}, not of audit or check")
    if not KNOWN.fullmatch(head.schema_version):
        raise ValueError(
            f"$.schema_version: {head.schema_version}: only reports of schemas 1.x and 2.x are read"
        )
