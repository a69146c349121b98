"""`convsv report` and several outputs of one run, as users and pipes meet them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import torch
from click.testing import CliRunner
from lxml import etree

from convsv_cli.cli import cli
from convsv_cli.comparison import trend
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.renderers.trends import TRENDS
from convsv_cli.report import QUICK, Interval, Measurement, NetworkBound, Report
from tests.support import json_schemas
from tests.support.command_line import convsv, convsv_anew
from tests.support.documents import AUDIT, AUDITED, FAILURE, JUDGED
from tests.support.sarif import check
from tests.support.shells import installed, shell

OLD = Path(__file__).parents[1] / "support" / "saved_reports" / "schema-1.0.json"
SUFFIXES = [suffix for renderer in RENDERERS for suffix in renderer.suffixes]


@pytest.fixture(scope="module")
def sample(root: Path) -> Path:
    return root / "sample_models" / "resnet20.onnx"


def saved(document: Report, folder: Path, name: str = "saved.json") -> Path:
    path = folder / name
    path.write_text(next(r for r in RENDERERS if r.name == "json").render(document, Terminal()))
    return path


def rendered(name: str, document: Report, terminal: Terminal) -> str:
    return next(r for r in RENDERERS if r.name == name).render(document, terminal)


def test_one_run_writes_every_format_and_stdout_stays_empty(sample: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"audit{suffix}" for suffix in SUFFIXES]
    process = convsv("audit", sample, "--layers", "layer1.0.*", *(x for file in files for x in ("-o", file)))
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    json.loads((tmp_path / "audit.json").read_text())
    json.loads((tmp_path / "audit.sarif").read_text())
    etree.fromstring((tmp_path / "audit.xml").read_bytes())
    for file in files:
        issues = file.name.endswith("json") and file.name != "audit.json"
        assert file.read_text() == "[]\n" if issues else file.stat().st_size > 100, file


def test_a_saved_report_renders_to_what_the_audit_itself_would_have_printed(
    sample: Path, tmp_path: Path
) -> None:
    outputs = {name: tmp_path / f"audit.{name}" for name in ("json", "csv", "md", "txt")}
    arguments = [x for file in outputs.values() for x in ("-o", file)]
    assert convsv("audit", sample, "--layers", "fc", *arguments).returncode == 0
    for file in outputs.values():
        again = tmp_path / f"again{file.suffix}"
        process = convsv("report", outputs["json"], "-o", again)
        assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
        assert again.read_bytes() == file.read_bytes()


def test_an_audit_pipes_into_a_report(sample: Path, tmp_path: Path) -> None:
    """In every format."""
    files = [tmp_path / f"r{suffix}" for suffix in SUFFIXES]
    outputs = " ".join(f"-o r{suffix}" for suffix in SUFFIXES)
    line = f'convsv audit "$model" --layers fc --format json | convsv report - {outputs}'
    environment = installed(tmp_path) | {"model": str(sample)}
    process = shell(f"set -o pipefail; {line}", tmp_path, environment)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    silent = [file.name for file in files if "fc" not in file.read_text()]
    assert silent == ["r.sarif", "rgl-code-quality-report.json", "r.codequality.json"], "nothing to act on"


def test_the_table_is_what_report_prints_and_verdicts_do_not_change_its_exit_code(tmp_path: Path) -> None:
    document = Report(command="check", audits=(JUDGED,), failures=(FAILURE,))
    process = convsv("report", saved(document, tmp_path))
    assert process.returncode == 0
    assert "budget failed" in process.stdout
    assert "--verbose" in process.stdout
    whole = convsv("report", saved(document, tmp_path), "--verbose").stdout
    assert whole == rendered("table", document, Terminal())


def test_what_is_no_report_is_one_line(tmp_path: Path, sample: Path) -> None:
    for path, message in ((sample, "not JSON, as it is no text"), (tmp_path / "absent.json", "no such file")):
        process = convsv("report", path)
        assert (process.returncode, process.stdout) == (2, "")
        assert process.stderr.startswith(f"convsv: {path}: {message}")
        assert process.stderr.count("\n") == 1
    picture, chosen = (
        "is a picture of how several reports differ",
        "--layers chooses layers of several reports",
    )
    for asked, why in (
        ("-otrend.png", picture),
        ("-fpng", picture),
        ("-otrend.svg", picture),
        ("--layers=fc", chosen),
    ):
        result = CliRunner().invoke(cli, ["report", "one.json", asked], standalone_mode=False)
        assert why in str(result.exception)


def test_places_are_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    path = saved(Report(command="check", audits=(JUDGED,)), inner)
    (run,) = json.loads(convsv("report", path, "--format", "sarif").stdout)["runs"]
    uris = {r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]}
    assert uris == {"inner/convsv.toml"}
    assert "file=inner/convsv.toml,line=7" in convsv("report", path, "--format", "github").stdout


def test_two_runs_of_a_gate_make_the_same_sarif(tmp_path: Path) -> None:
    weights = torch.arange(1, 37, dtype=torch.float32).reshape(2, 2, 3, 3)
    tensors = {"conv.weight": weights, "fc.weight": weights[0, 0], "x.weight": weights * torch.nan}
    torch.save(tensors, tmp_path / "m.pt")
    (tmp_path / "convsv.toml").write_text("max-layer = 1.0\nmax-lipschitz = 2.0\n")
    documents = []
    for name in ("one.sarif", "two.sarif"):
        out = tmp_path / name
        process = convsv("check", tmp_path / "m.pt", "--config", tmp_path / "convsv.toml", "-o", out)
        assert (process.returncode, process.stdout) == (1, "")
        documents.append(json.loads(out.read_text()))
    check(documents[0])
    assert documents[0] == documents[1]
    (run,) = documents[0]["runs"]
    assert {result["ruleId"] for result in run["results"]} == {
        "layer-budget",
        "layer-bound-missing",
        "network-bound-missing",
        "invalid-layer",
    }


def test_annotations_come_with_a_step_summary(tmp_path: Path) -> None:
    document = Report(command="check", audits=(JUDGED,))
    path, summary = saved(document, tmp_path), tmp_path / "summary.md"
    summary.write_text("before\n")
    process = convsv_anew("report", path, "--format", "github", GITHUB_STEP_SUMMARY=str(summary))
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("::")
    assert summary.read_text() == "before\n" + rendered("markdown", document, Terminal())
    convsv_anew("report", path, "--format", "json", GITHUB_STEP_SUMMARY=str(summary))
    assert summary.read_text().count("## ") == 1
    process = convsv_anew("report", path, "--format", "github", GITHUB_STEP_SUMMARY=str(tmp_path))
    assert (process.returncode, process.stderr.count("\n")) == (2, 1)


def epoch(norms: dict[str, float], bound: float, folder: Path, name: str) -> Path:
    layers = []
    for layer, norm in norms.items():
        certified = Measurement(value=norm, enclosure=Interval(lower=norm / 2, upper=norm))
        layers.append(replace(AUDITED, name=layer, measurements=(("certified", certified),)))
    network = NetworkBound(status="bounded", lipschitz=bound, log10=1.0)
    return saved(
        Report(command="audit", audits=(replace(AUDIT, layers=tuple(layers), bound=network),)), folder, name
    )


@pytest.fixture
def epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    epoch({"a": 1.0, "gone": 3.0}, 10.0, tmp_path, "e1.json")
    epoch({"a": 1.50001}, 20.0, tmp_path, "e2.json")
    epoch({"a": 2.0, "=new": 4.0}, float("inf"), tmp_path, "e3.json")
    return ["e1.json", "e2.json", "e3.json"]


def test_several_reports_are_side_by_side(epochs: list[str]) -> None:
    assert convsv("report", *epochs).stdout.splitlines() == [
        "layer    e1.json  e2.json  e3.json  last/first",
        "──────────────────────────────────────────────",
        "a          1.000    1.501    2.000           2",
        "gone       3.000",
        "=new                         4.000",
        "network    10.00    20.00",
        "",
        "certified ≤ of each layer; certified Lipschitz bound (L2) of the network",
    ]


def test_the_same_as_markdown_csv_and_json(epochs: list[str]) -> None:
    assert convsv("report", *epochs, "--format", "markdown").stdout.splitlines() == [
        "| layer | `e1.json` | `e2.json` | `e3.json` | last/first |",
        "| --- | --: | --: | --: | --: |",
        "| `network` | 10.00 | 20.00 |  |  |",
        "| `a` | 1.000 | 1.501 | 2.000 | 2 |",
        "| `gone` | 3.000 |  |  |  |",
        "| `=new` |  |  | 4.000 |  |",
    ]
    rows = list(csv.reader(io.StringIO(convsv("report", *epochs, "--format", "csv").stdout)))
    assert rows == [
        ["kind", "name", *epochs],
        ["layer", "a", "1.0", "1.50001", "2.0"],
        ["layer", "gone", "3.0", "", ""],
        ["layer", "'=new", "", "", "4.0"],
        ["network", "", "10.0", "20.0", ""],
    ]
    document = json.loads(convsv("report", *epochs, "--format", "json").stdout)
    schema = json.loads((json_schemas.FOLDER / "trend-2.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["reports"] == epochs
    assert document["layers"][1] == {"name": "gone", "certified_upper": [3.0, None, None]}
    assert document["network"] == {"lipschitz_upper": [10.0, 20.0, None], "reason": None}


def test_formats_without_a_comparison_have_all_reports(epochs: list[str]) -> None:
    root = etree.fromstring(convsv("report", *epochs, "--format", "junit").stdout.encode())
    assert len(root.findall("testsuite")) == 3


def test_reports_of_several_models_and_of_none(tmp_path: Path) -> None:
    several = saved(Report(command="check", audits=(AUDIT, JUDGED)), tmp_path, "several.json")
    none = saved(Report(command="check", audits=(), failures=(FAILURE,)), tmp_path, "none.json")
    process = convsv("report", several, none, "--format", "json")
    assert process.stderr == "convsv: broken.onnx: not an ONNX file\n"
    assert json.loads(process.stdout)["reports"] == [f"{several}: net.onnx"] * 2
    for name in ("table", "csv", "markdown", "json"):
        assert convsv("report", none, none, "--format", name).returncode == 0


def test_bounds_that_were_made_in_other_ways_are_no_trend() -> None:
    """The method alone may have made one of them smaller."""
    quick = replace(AUDIT, bound=replace(AUDIT.bound, lipschitz=2 * AUDIT.bound.lipschitz, effort=QUICK))
    growing, mixed = (trend([("a", first), ("b", AUDIT)]) for first in (AUDIT, quick))
    assert growing.reason == ""
    tables = {renderer.name: renderer.render for renderer in TRENDS}
    for name in ("table", "markdown", "json"):
        assert "--network-effort quick and normal" in tables[name](mixed, Terminal())
    (before,), (after,) = (
        [
            line.split()
            for line in tables["table"](each, Terminal()).splitlines()
            if line.startswith("network ")
        ]
        for each in (growing, mixed)
    )
    assert (before[-1], len(after)) == ("1", len(before) - 1)


@pytest.mark.parametrize("renderer", TRENDS, ids=lambda renderer: renderer.name)
def test_why_bounds_are_no_trend_is_inert(renderer) -> None:
    """It may quote the version that a saved report claims to be of."""
    old = replace(AUDIT, version="0.1\x1b[31m<script>`@x\u202e")
    text = renderer.render(trend([("a", old), ("b", AUDIT)]), Terminal())
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert "<script>" not in text or renderer.name != "markdown"


def test_a_narrow_terminal_keeps_the_first_and_the_last_report() -> None:
    compare = next(r for r in TRENDS if r.name == "table").render
    names = [f"epoch{i}.json" for i in range(9)]
    several = trend([(name, AUDIT) for name in names])
    for width, shown in ((60, [0, 7, 8]), (120, [0, *range(3, 9)]), (None, list(range(9))), (10, [0, 8])):
        lines = compare(several, Terminal(width=width)).splitlines()
        assert lines[0].split() == ["layer", *(names[i] for i in shown), "last/first"]
        assert width in (10, None) or max(map(len, lines[:4])) <= width
        hidden = f"{9 - len(shown)} of 9 reports do not fit here; -o FILE.csv has all"
        assert (hidden in lines) is (len(shown) < 9)
