"""The JSON schemas that the package ships: written from the forms, which fit the values that they are of."""

from __future__ import annotations

import json
from typing import get_args

import jsonschema
import pytest
from msgspec import structs

from convsv_cli import report
from convsv_cli.calculators import CALCULATORS
from convsv_cli.comparison import difference, trend
from convsv_cli.renderers import certification as certificates
from convsv_cli.renderers import json as documents
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.wire import audit, certification, comparison, layer, methods, network, spectra
from convsv_cli.wire import sweep as sweeps
from convsv_cli.wire.form import Form
from convsv_cli.wire.verdict import Finding, Gate, Verdict
from tests.support import json_schemas
from tests.support.certifications import CERTIFICATION
from tests.support.documents import AUDIT, AUDITED, DISTRIBUTION, JUDGED, SKIPPED, of
from tests.support.rendered import BOTH

ROOTS = (
    audit.Report,
    certification.Certification,
    comparison.Difference,
    spectra.Spectra,
    sweeps.Sweep,
    comparison.Trend,
    methods.Methods,
)
EVERY = {f"{form.__module__}.{form.__name__}": form for root in ROOTS for form in json_schemas.forms_of(root)}


@pytest.mark.parametrize("name", json_schemas.SCHEMAS)
def test_the_files_are_those_of_the_forms(name: str) -> None:
    text = (json_schemas.FOLDER / name).read_text(encoding="utf-8")
    assert text == json_schemas.text(name), "run python -m tests.support.json_schemas --write"
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


METHODS = report.Methods(version="1", methods=tuple(calculator.method for calculator in CALCULATORS))
SPECTRA = report.Spectra(
    version="1",
    path="net.onnx",
    format="onnx",
    opset=None,
    inputs=(("image", (1, "w")),),
    notes=("a note",),
    layers=(
        report.LayerSpectrum(row=AUDITED, size=(32, 32), distribution=DISTRIBUTION),
        report.LayerSpectrum(row=SKIPPED, size=(), distribution=None),
    ),
)
SWEPT = report.Swept(path="epoch1.pt", status="audited", layers=1, audited=1, largest=2.0, bound="unknown")
SWEEP = report.Sweep(
    version="1",
    path="results",
    files=(SWEPT, report.Swept(path="b.pt", status="failed", reason="damaged", exit_code=2)),
    series=(report.Series(name="*", steps=(report.Step(number=1, file=SWEPT),), norms=1.0, bounds=None),),
)
WRITTEN = {
    "audit": of(AUDIT),
    "check of two": BOTH,
    "nothing": of(),
    "diff": difference(AUDIT, JUDGED),
    "report of two": trend([("a", AUDIT), ("b", JUDGED)]),
    "report of a sweep": SWEEP,
    "methods": METHODS,
    "spectrum": SPECTRA,
    "certify": CERTIFICATION,
}


@pytest.mark.parametrize("case", WRITTEN)
def test_every_document_begins_alike_and_follows_the_schema_that_it_names(case: str) -> None:
    """Whatever the command and however many models: what a program needs to know is in the same place."""
    found, renderers = WRITTEN[case], {each.name: each.render for each in certificates.RENDERERS}
    text = (renderers["json"] if case == "certify" else documents.render)(found, Terminal())
    document = json.loads(text)
    assert list(document)[:4] == ["$schema", "schema_version", "tool", "command"]
    assert document["command"] == case.partition(" ")[0].replace("nothing", "audit")
    (schema,) = (each() for each in json_schemas.SCHEMAS.values() if each()["$id"] == document["$schema"])
    assert document["$schema"].endswith(f"-{document['schema_version'].partition('.')[0]}.schema.json")
    jsonschema.Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("name", EVERY)
def test_what_is_described_is_a_field(name: str) -> None:
    text = (EVERY[name].__doc__ or "").partition("Attributes:")[2]
    described = {
        entry for entry, _ in json_schemas.ENTRY.findall("\n".join(line[4:] for line in text.splitlines()))
    }
    assert described <= {field.name for field in structs.fields(EVERY[name])}
    assert bool(described) == bool(text)


def test_every_calculator_has_a_field_of_its_kind() -> None:
    assert {c.method.name: c.method.kind for c in CALCULATORS} == layer.KINDS
    assert layer.KINDS.keys() <= {field.name for field in structs.fields(layer.Layer)}


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        (layer.Layer, "status", {report.AUDITED, report.UNSUPPORTED, report.INVALID, report.NOT_APPLICABLE}),
        (layer.Method, "kind", set(layer.KINDS.values())),
        (network.Network, "status", {report.BOUNDED, report.UNBOUNDED, report.UNKNOWN}),
        (Finding, "severity", {report.ERROR, report.WARNING, report.NOTE}),
        (
            Gate,
            "outcome",
            {report.PASSED, report.EXCEEDED, report.UNDECIDED, report.MISSING, report.IGNORED},
        ),
        (Verdict, "outcome", {report.MISTAKEN, report.FAILED, report.INCOMPLETE, report.PASSED}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_words_are_those_of_the_values(form: type[Form], field: str, words: set[str]) -> None:
    (kind,) = (each.type for each in structs.fields(form) if each.name == field)
    said = set(get_args(kind)) | {word for inner in get_args(kind) for word in get_args(inner)}
    assert {word for word in said if isinstance(word, str)} == words
