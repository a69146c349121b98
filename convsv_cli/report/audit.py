"""An audit: what was asked for, of which file, and everything that was found."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.deadline import INTERRUPTED, TIME_LIMIT
from convsv_cli.report.layer import AUDITED, NOT_APPLICABLE, LayerAudit, Method, Product
from convsv_cli.report.network import NORMAL, NetworkBound, NetworkTotals
from convsv_cli.report.shown import Shown
from convsv_cli.report.spectrum import Spectrum
from convsv_cli.report.verdict import Finding, Verdict

STATUSES = COMPLETE, *_ = ("complete", INTERRUPTED, TIME_LIMIT)
"""How an audit ends: all was done, Ctrl-C ended it, or the clock, which users had asked for."""
NOT_REACHED = "not reached: interrupted"
"""Why a row, a network or a model has no figures to which an audit did not get."""
TOLERANCE = 1e-4
WORK_LIMIT = 5e10


@dataclass(frozen=True, kw_only=True)
class Model:
    """The audited file.

    Attributes:
        path: as the user gave it.
        format: "onnx", "checkpoint", "pickled_module", "torchscript", "safetensors", "pt2" or
            "adapter".
        sha256: of the file; of a model in several, of the lines that `sha256sum` prints for `files` (in
            reports of early versions, of the first one).
        files: every file that was read, relative to the model's folder.
        files_sha256: of each of several files, empty for one that is missing; none for a single file.
        opset: of the default ONNX domain; None for other formats.
        input_shape: name and dimensions of each graph input.
    """

    path: str
    format: str
    sha256: str
    files: tuple[str, ...]
    opset: int | None
    input_shape: tuple[tuple[str, tuple[int | str, ...]], ...]
    files_sha256: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user asked for, as far as it decides the figures.

    Attributes:
        exact: whether the exact norm at the input size was asked for.
        input_size: spatial size of the network's input; None: as in the file.
        input_shapes: full shapes of named inputs, which win over `input_size`.
        layers: globs of the layers that are audited; empty for all.
        as_stride_1: whether strides count as 1.
        device: where norms are computed.
        tolerance: relative width of an enclosure that is good enough.
        work_limit: multiplications after which each search stops with the enclosure that it has.
        input_range: what the entries of the network's inputs are known to be in; None: anything.
        empirical: "random" or a file of inputs at which to look at the network; empty for not at all.
        spectra: globs of the layers of which all singular values are wanted.
        as_layer, as_table: globs of rows that are layers, or tables, where the file does not say.
        dtype: in which norms are proven.
        network_effort: how long is searched for a small bound of the network, one of `EFFORTS`; empty in
            reports of versions that did not search.
        sources, targets: tensors from which, and to which, the network is bounded; empty for all its inputs,
            or outputs, of real numbers.
        spread: whether how singular values spread was asked for.
        attention: how many heads attention has, "auto" or "H" or "H:K", where its products were asked for.
    """

    exact: bool = False
    input_size: tuple[int, ...] | None = None
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    layers: tuple[str, ...] = ()
    as_stride_1: bool = False
    device: str = "cpu"
    tolerance: float = TOLERANCE
    work_limit: float = WORK_LIMIT
    input_range: tuple[float, float] | None = None
    empirical: str = ""
    spectra: tuple[str, ...] = ()
    as_layer: tuple[str, ...] = ()
    as_table: tuple[str, ...] = ()
    dtype: str = "float64"
    network_effort: str = NORMAL
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    spread: bool = False
    attention: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Audit(Shown):
    """Everything that a renderer needs, in a deterministic order.

    Attributes:
        version: of convsv.
        model: the file.
        settings: what was asked for.
        methods: all that exist; a layer has the measurements of those that ran.
        layers: one row each, in the order of the file.
        network: figures over all layers.
        bound: of the whole network.
        findings: what a reader should act on, those of the verdict among them.
        seconds: wall time.
        verdict: what a budget makes of it; None without one.
        spectra: those that were asked for.
        products: of the matrices of attention, where they were asked for.
        status: one of `STATUSES`; all figures are proven however it ends.
    """

    version: str
    model: Model
    settings: Settings
    methods: tuple[Method, ...]
    layers: tuple[LayerAudit, ...]
    network: NetworkTotals
    bound: NetworkBound
    findings: tuple[Finding, ...]
    seconds: float
    verdict: Verdict | None = None
    spectra: tuple[Spectrum, ...] = ()
    products: tuple[Product, ...] = ()
    status: str = COMPLETE

    @property
    def audited(self) -> int:
        """Number of layers that were audited."""
        return sum(layer.status == AUDITED for layer in self.layers)

    @property
    def applicable(self) -> int:
        """Number of layers that there are to audit: all rows but tables and the like."""
        return sum(layer.status != NOT_APPLICABLE for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A model that could not be audited.

    Attributes:
        path: as the user gave it.
        message: the error as one line.
        exit_code: what it would exit with on its own.
    """

    path: str
    message: str
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one run of a command found, in the order in which the models were given.

    Attributes:
        command: `audit`, `check` ...
        audits: one per model that could be read.
        failures: the others.
    """

    command: str
    audits: tuple[Audit, ...]
    failures: tuple[Failure, ...] = ()
