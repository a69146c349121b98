"""Saved JSON read back: nothing is lost, old schemas are read, and what is no report is one clear line."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import math
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli import audit, report, saved
from convsv_cli.errors import UnreadableReportError
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import (
    Interval,
    Measurement,
    Report,
    Settings,
)
from tests.support.documents import (
    AUDIT,
    AUDITED,
    FAILURE,
    FINDINGS_ONLY,
    HOPELESS,
    JUDGED,
    ROUNDED,
    UNBOUNDED,
    of,
)

SAVED = Path(__file__).parents[1] / "support" / "saved_reports"
OLD, OLD_1, OLD_SEVERAL = (SAVED / f"schema-1.{name}.json" for name in ("0", "1", "1-several"))
JSON = next(renderer for renderer in RENDERERS if renderer.name == "json")
SEVERAL = Report(command="check", audits=(replace(AUDIT, bound=ROUNDED), JUDGED), failures=(FAILURE,))


def written(document: Report) -> str:
    return JSON.render(document, Terminal())


def back(text: str, folder: Path) -> Report:
    path = folder / "saved.json"
    path.write_text(text)
    return saved.read(path)


INFINITE = replace(
    AUDITED,
    measurements=(
        ("bound", Measurement(value=math.inf, enclosure=Interval(), parts=(("R", math.inf), ("S", 1e300)))),
        ("heuristic", Measurement(value=math.inf)),
        ("certified", Measurement(value=math.inf, enclosure=Interval(lower=2.0))),
        ("exact", Measurement(value=math.inf, enclosure=Interval(lower=math.inf), size=None)),
    ),
)

OVERFLOWN = (("heuristic", None), ("exact", math.inf), ("certified", 1e308), ("bound", math.inf))
SETTINGS = Settings(work_limit=math.inf, empirical="x.npz", input_range=(-1.0, 1.0), input_size=(3, 4))


@pytest.mark.parametrize(
    "document",
    [
        of(AUDIT),
        of(JUDGED),
        SEVERAL,
        Report(command="audit", audits=()),
        Report(command="audit", audits=(), failures=(FAILURE,)),
        of(replace(AUDIT, bound=UNBOUNDED, version="0.0.1", methods=AUDIT.methods[::-1])),
        of(replace(AUDIT, bound=ROUNDED)),
        of(replace(AUDIT, bound=HOPELESS)),
        of(replace(AUDIT, layers=(INFINITE,), network=replace(AUDIT.network, product=OVERFLOWN))),
        of(replace(AUDIT, settings=SETTINGS)),
    ],
    ids=[
        "one",
        "verdict",
        "several",
        "none",
        "failure",
        "unbounded",
        "rounded",
        "hopeless",
        "infinite",
        "settings",
    ],
)
def test_a_round_trip_keeps_every_byte(document: Report, tmp_path: Path) -> None:
    text = written(document)
    assert written(back(text, tmp_path)) == text


@pytest.mark.parametrize("document", [of(AUDIT), of(JUDGED), SEVERAL], ids=["one", "verdict", "several"])
def test_a_round_trip_keeps_every_value(document: Report, tmp_path: Path) -> None:
    assert back(written(document), tmp_path) == document


def test_a_round_trip_of_a_real_audit(root: Path, tmp_path: Path) -> None:
    result = of(audit(root / "sample_models" / "resnet20.onnx", exact=True, layers=["layer1.*", "fc"]))
    assert back(written(result), tmp_path) == result


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("count", 6, "conv1: the counts of the histogram do not add up"),
        ("count", 0, r"\.count: expected `int` >= 1"),
        ("histogram", [], r"\.histogram: expected `array` of length >= 1"),
        ("largest", 5.0, "conv1: the largest value is not between the smallest one and the edge"),
        ("smallest", 4.81, "conv1: the largest value is not between the smallest one and the edge"),
        ("frobenius", 1e300, "conv1: the Frobenius norm is larger than"),
        ("vanishing", 0, "conv1: the smallest value is zero"),
        ("edge", None, r"\.edge: expected `float`, got `null`"),
    ],
)
def test_spectra_that_do_not_fit_together_are_refused(
    field: str, value: Any, message: str, tmp_path: Path
) -> None:
    document = json.loads(written(of(JUDGED)))
    assert back(json.dumps(document), tmp_path).audits[0].spectra == JUDGED.spectra
    document["audits"][0]["spectra"][0][field] = value
    with pytest.raises(UnreadableReportError, match=rf"spectra.*{message}"):
        back(json.dumps(document), tmp_path)


def different(value: Any) -> Any:
    """Another value of that kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    return f"{value}\udcff\n" if isinstance(value, str) else value


def variants(value: Any):
    """The value with one of its leaves changed, for each leaf, with the way to that leaf."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            for way, changed in variants(getattr(value, field.name)):
                yield f".{field.name}{way}", replace(value, **{field.name: changed})
    elif isinstance(value, tuple):
        for index, entry in enumerate(value):
            for way, changed in variants(entry):
                yield f"[{index}]{way}", (*value[:index], changed, *value[index + 1 :])
    elif value is not None:
        yield "", different(value)


def test_no_field_of_a_report_is_left_out_of_the_json() -> None:
    """A field that is added to a dataclass but not to the JSON fails here."""
    text = written(of(JUDGED))
    unseen = {way for way, changed in variants(JUDGED) if written(of(changed)) == text}
    known = {
        ".layers[0].measurements[2][1].value",  # the upper end of the enclosure
        ".layers[0].measurements[3][1].value",
        ".layers[0].measurements[3][1].size[0]",  # the layer's input size
        ".layers[0].measurements[3][1].size[1]",
        ".layers[0].measurements[4][1].enclosure.lower",  # a bound from above has none
        ".layers[0].measurements[4][1].enclosure.upper",
    }
    assert unseen == known
    rounded = replace(AUDIT, bound=replace(AUDIT.bound, quantised=replace(ROUNDED.quantised, reason="none")))
    gate = replace(JUDGED.verdict.gates[0], quantity="quantised-step")
    for whole in (rounded, replace(AUDIT, verdict=replace(JUDGED.verdict, gates=(gate,)))):
        text = written(of(whole))
        assert not {way for way, changed in variants(whole) if written(of(changed)) == text} - known


@given(st.text(), st.text(), st.floats(min_value=0, allow_infinity=False))
def test_any_name_and_figure_comes_back(name: str, reason: str, value: float) -> None:
    layer = replace(AUDITED, name=name, measurements=(("heuristic", Measurement(value=value)),))
    finding = report.Finding(rule="x", severity=report.NOTE, node=name, message=reason, measured=value)
    text = written(of(replace(AUDIT, layers=(layer,), findings=(finding,))))
    assert written(saved.parsed(text.encode(), "x")) == text


def test_the_documents_validate() -> None:
    schema = json.loads(files("convsv_cli.renderers").joinpath("schema/audit-2.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for document in (of(AUDIT), of(JUDGED), SEVERAL):
        validator.validate(json.loads(written(document)))
    broken = json.loads(written(SEVERAL))
    del broken["failures"][0]["exit_code"]
    assert not validator.is_valid(broken)
    broken = json.loads(written(of(JUDGED)))
    broken["audits"][0]["verdict"]["gates"][0]["outcome"] = "fine"
    assert not validator.is_valid(broken)


@pytest.mark.parametrize(
    ("path", "report"), [(OLD_1, of(JUDGED)), (OLD_SEVERAL, SEVERAL)], ids=["one", "several"]
)
def test_schema_1_had_two_shapes_and_both_are_read(path: Path, report: Report) -> None:
    """The files are what version 1.1 wrote of these values; its own schema is beside them."""
    jsonschema.validate(json.loads(path.read_text()), json.loads((SAVED / "audit-1.schema.json").read_text()))
    found = saved.read(path)
    audits = [  # what the methods are said to cost and to rest on may be put in other words since
        replace(now, methods=then.methods) for now, then in zip(report.audits, found.audits, strict=True)
    ]
    assert found == replace(report, audits=tuple(audits))


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """The document as it would have been before it had a field."""
    document = copy.deepcopy(document)
    for name in names:
        *outer, last = name.split(".")
        inner: Any = document
        for step in outer:
            inner = inner[step]
        for entry in inner if isinstance(inner, list) else [inner]:
            del entry[last]
    return document


OLDER = {
    "1.0": [],
    "no blocks": ["network.blocks", "network.parts", "network.structure", "network.folded"],
    "no network": ["network"],
    "no findings": ["findings"],
    "no certified": ["layers.certified", "layers.zero_padded", "network.product.certified"],
    "no seconds": ["layers.seconds", "summary"],
    "only figures": ["layers.assumed", "layers.aliases", "layers.padding_mode", "settings", "network.status"],
}


@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda r: r.name)
@pytest.mark.parametrize("removed", OLDER.values(), ids=OLDER)
def test_an_older_schema_renders_in_every_format(
    removed: list[str], renderer: Renderer, tmp_path: Path
) -> None:
    old = without(json.loads(OLD.read_text()), *removed)
    text = renderer.render(back(json.dumps(old), tmp_path), Terminal(explain=True))
    assert renderer.name in FINDINGS_ONLY or all(layer["name"] in text for layer in old["layers"])


def test_the_committed_report_is_of_schema_1_0_and_keeps_what_it_says() -> None:
    old = json.loads(OLD.read_text())
    document = json.loads(written(saved.read(OLD)))
    (new,) = document["audits"]
    assert (old["command"], old["tool"]) == (document["command"], document["tool"])
    assert old["schema_version"] == "1.0" != document["schema_version"]
    settings = {**new["settings"], **old["settings"]}
    grown = ("schema_version", "command", "findings", "layers", "settings", "network")
    assert settings == new["settings"]
    assert {name: new[name] for name in old if name not in grown} == {
        name: old[name] for name in old if name not in grown
    }
    told, network = old["network"], new["network"]
    assert {**network, **told, "blocks": network["blocks"]} == network
    lists = [(old, new, "findings"), (old, new, "layers"), (told, network, "blocks")]
    for before, after, field in lists:
        assert [{**n, **o} for n, o in zip(after[field], before[field], strict=True)] == after[field]
    bound = saved.read(OLD).audits[0].bound
    assert {block.route for block in bound.blocks} == {report.RULES}
    assert bound.effort == saved.read(OLD).audits[0].settings.network_effort == ""


def test_a_newer_schema_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    for version, before in (("1.99", OLD.read_text()), ("2.99", written(of(AUDIT)))):
        new = json.loads(before)
        new["schema_version"] = version
        for audited in new.get("audits", [new]):
            audited["energy"] = {"joules": [1, 2]}
            audited["layers"][0]["colour"] = None
            audited["layers"][0]["seconds"]["oracle"] = 1.0
        assert back(json.dumps(new), tmp_path) == back(before, tmp_path)


def changed(way: str, value: Any, before: str | None = None) -> str:
    document = json.loads(before or OLD.read_text())
    *outer, last = [int(step) if step.isdigit() else step for step in way.split(".")]
    inner = document
    for step in outer:
        inner = inner[step]
    inner[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1]", "$: not a report of convsv"),
        ("{}", "$: not a report of convsv: no schema_version"),
        ("{", "not JSON"),
        ("\x00", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        (changed("schema_version", "3.0"), "$.schema_version: 3.0: only reports of schemas 1.x and 2.x"),
        (changed("schema_version", "2.0"), "$: object missing required field `audits`"),
        (changed("command", "report"), "$.command: a document of convsv report"),
        (changed("failures", {}, written(SEVERAL)), "$.failures: expected `array`, got `object`"),
        (
            changed("audits.0.layers.0.name", 3, written(SEVERAL)),
            "$.audits[0].layers[0].name: expected `str`, got `int`",
        ),
        (changed("schema_version", 1), "$.schema_version: expected `str`, got `int`"),
        (changed("layers.0.name", None), "$.layers[0].name: expected `str`, got `null`"),
        (changed("layers.0.name", 3), "$.layers[0].name: expected `str`, got `int`"),
        (changed("layers.1.status", "fine"), "$.layers[1].status: invalid enum value 'fine'"),
        (changed("layers.1.certified.lower", 1e9), "$.layers[1].certified: the lower end is above"),
        (
            changed("layers.1.certified.upper", "big"),
            "$.layers[1].certified.upper: expected `float | null`, got `str`",
        ),
        (
            changed("layers.1.certified.upper", True),
            "$.layers[1].certified.upper: expected `float | null`, got `bool`",
        ),
        (changed("layers.1.certified.upper", -1), "$.layers[1].certified.upper: expected `float` >= 0.0"),
        (changed("layers.0.kernel_shape", [1.5]), "$.layers[0].kernel_shape[0]: expected `int`, got `float`"),
        (changed("layers", {}), "$.layers: expected `array`, got `object`"),
        (changed("network", []), "$.network: expected `object`, got `array`"),
        (changed("network.input_range", [2, 1]), "$.network: the lower end of input_range is above"),
        (
            changed("model.input_shape", {"a b": [1.5]}),
            "$.model.input_shape[...][0]: expected `int | str`, got `float`",
        ),
        (changed("settings.exact", "yes"), "$.settings.exact: expected `bool`, got `str`"),
        (
            changed("methods", [{"name": "bound", "kind": "exact"}]),
            "methods: bound is of the kind upper, not exact",
        ),
        (changed("methods", [{"name": "bound", "kind": "\udcff"}]), "half a character"),
        (changed("layers.0.heuristic", 0).replace("0.0001", "NaN"), "NaN is not a JSON number"),
        (changed("layers.0.heuristic", 0).replace("0.0001", "1e999"), "beyond the range of floating point"),
        (changed("layers.0.heuristic", 0).replace("0.0001", "9" * 5000), "an integer of 5000 characters"),
    ],
)
def test_what_is_no_report_is_one_line_with_file_and_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableReportError) as caught:
        back(text, tmp_path)
    assert str(tmp_path / "saved.json") in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_files_that_are_none_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(UnreadableReportError, match=str(path)):
            saved.read(path)
    monkeypatch.setattr(saved, "LARGEST", 100)
    with pytest.raises(UnreadableReportError, match="larger than"):
        saved.read(OLD)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_stdin_in_any_unicode_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO(OLD.read_text().encode(encoding))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    assert saved.read("-") == saved.read(OLD)


def test_a_closed_stdin_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UnreadableReportError, match="stdin"):
        saved.read("-")
