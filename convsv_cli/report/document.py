"""What a command has to say: plain frozen values, no arrays, nothing that knows a file or a format."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.report.layer import AUDITED, NOT_APPLICABLE, LayerAudit
from convsv_cli.report.measurement import Method
from convsv_cli.report.network import NetworkBound, NetworkTotals
from convsv_cli.report.request import Model, Settings
from convsv_cli.report.spectrum import Spectrum
from convsv_cli.report.verdict import Finding, Verdict


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that a renderer needs, in a deterministic order.

    Attributes:
        version: of convsv.
        model: the file.
        settings: what was asked for.
        methods: all that exist; a layer has the measurements of those that ran.
        layers: a row each, in the order of the file.
        network: figures over all layers.
        bound: of the whole network.
        findings: what a reader should act on, those of the verdict among them.
        seconds: wall time.
        verdict: what a budget makes of it; None without one.
        spectra: those that were asked for.
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
        audits: one a model that could be read.
        failures: the others.
    """

    command: str
    audits: tuple[Audit, ...]
    failures: tuple[Failure, ...] = ()
