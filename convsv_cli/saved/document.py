"""A saved report as a whole."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from convsv_cli.calculators import CALCULATORS
from convsv_cli.errors import UnreadableReportError
from convsv_cli.report import (
    CERTIFIED,
    ESTIMATE,
    EXACT,
    PADDED,
    TOLERANCE,
    UPPER,
    Audit,
    Failure,
    Method,
    Model,
    Report,
    Settings,
)
from convsv_cli.saved.layer import layer_of
from convsv_cli.saved.network import bound_of, totals_of
from convsv_cli.saved.spectrum import spectrum_of
from convsv_cli.saved.value import Value, parse
from convsv_cli.saved.verdict import finding_of, verdict_of

LARGEST = 64 * 2**20
"""Bytes. A layer takes about two thousand."""
OTHERS = ("certify", "diff")
KINDS = (ESTIMATE, UPPER, EXACT, CERTIFIED, PADDED)


def read(path: str | Path) -> Report:
    """The report that `--format json` wrote to a file, or to stdin where the path is "-".

    What an older 1.x schema did not have is left at its default; what a newer one adds is not looked at.

    Raises:
        UnreadableReportError: the file is missing, larger than 64 MiB, no JSON, or no report of a schema 1.x;
            the line names the file and the place in the document.
    """
    file = "stdin" if str(path) == "-" else str(path)
    try:
        data = _bytes(path)
    except OSError as error:
        raise UnreadableReportError(error.strerror or str(error), where=file) from error
    if len(data) > LARGEST:
        raise UnreadableReportError("larger than 64 MiB: not a report", where=file)
    return report_of(parse(data, file))


def report_of(document: Value) -> Report:
    """The report in a document.

    Raises:
        UnreadableReportError: there is none.
    """
    _check_version(document)
    _check_command(document)
    several = document["audits"].present or document["failures"].present
    return Report(
        command=document["command"].text("audit"),
        audits=tuple(
            _audit(entry, document) for entry in (document["audits"].items() if several else [document])
        ),
        failures=tuple(
            Failure(
                path=entry["path"].text(),
                message=entry["message"].text(),
                exit_code=entry["exit_code"].integer(),
            )
            for entry in document["failures"].items()
        ),
    )


def _bytes(path: str | Path) -> bytes:
    if str(path) != "-":
        with Path(path).open("rb") as file:
            return file.read(LARGEST + 1)
    if sys.stdin is None:
        raise UnreadableReportError("closed", where="stdin")
    return sys.stdin.buffer.read(LARGEST + 1)


def _check_version(document: Value) -> None:
    if not isinstance(document.value, dict) or not document["schema_version"].present:
        raise document.fault("not a report of convsv: no schema_version")
    version = document["schema_version"].text()
    if not re.fullmatch(r"1\.[0-9]{1,9}", version):
        raise document["schema_version"].fault(f"{version}: only reports of schema 1.x are read")


def _check_command(document: Value) -> None:
    """Documents of other commands have a version of their own."""
    command = document["command"].text("audit")
    if command in OTHERS:
        raise document["command"].fault(f"a document of convsv {command}, not of audit or check")


def _audit(entry: Value, document: Value) -> Audit:
    """One of the audits; a document of a single one has its fields at the top."""
    methods = tuple(map(_method, entry["methods"].items())) or tuple(c.method for c in CALCULATORS)
    layers = tuple(layer_of(value, methods) for value in entry["layers"].items())
    version = entry["tool"]["version"].text(document["tool"]["version"].text(""))
    return Audit(
        version=version,
        model=_model(entry["model"]),
        settings=_settings(entry["settings"]),
        methods=methods,
        layers=layers,
        network=totals_of(entry["network"], layers, methods),
        bound=bound_of(entry["network"], layers),
        findings=tuple(map(finding_of, entry["findings"].items())),
        seconds=entry["summary"]["seconds"].norm(0.0),
        verdict=verdict_of(entry["verdict"]),
        spectra=tuple(map(spectrum_of, entry["spectra"].items())),
    )


def _model(value: Value) -> Model:
    return Model(
        path=value["path"].text(),
        format=value["format"].text(),
        sha256=value["sha256"].text(""),
        files=value["files"].texts(),
        opset=value["opset"].integer() if value["opset"].present else None,
        input_shape=tuple(
            (name, tuple(map(_dimension, shape.items()))) for name, shape in value["input_shape"].members()
        ),
        files_sha256=tuple(digest.text("") for digest in value["files_sha256"].items()),
    )


def _dimension(value: Value) -> int | str:
    return value.text() if isinstance(value.value, str) else value.integer()


def _settings(value: Value) -> Settings:
    return Settings(
        exact=value["exact"].flag(),
        input_size=value["input_size"].integers() if value["input_size"].present else None,
        input_shapes=tuple((name, shape.integers()) for name, shape in value["input_shapes"].members()),
        layers=value["layers"].texts(),
        as_stride_1=value["as_stride_1"].flag(),
        device=value["device"].text("cpu"),
        tolerance=value["tolerance"].norm(TOLERANCE),
        work_limit=value["work_limit"].norm(),
        input_range=value["input_range"].pair(),
        empirical=value["empirical"].text(""),
        spectra=value["spectra"].texts(),
        as_layer=value["as_layer"].texts(),
        as_table=value["as_table"].texts(),
        dtype=value["dtype"].text("float64"),
    )


def _method(value: Value) -> Method:
    return Method(
        name=value["name"].text(),
        column=value["column"].text(""),
        kind=value["kind"].choice(KINDS),
        proves=value["proves"].text(""),
        reference=value["reference"].text(""),
        cost=value["cost"].text(""),
    )
