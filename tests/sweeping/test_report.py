"""What `convsv report` shows of a sweep."""

import csv
import io
import json

import jsonschema
import pytest
import torch
from click.testing import CliRunner

from convsv_cli.cli import cli
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.renderers.sweep import CSV_HEADINGS, SWEEPS
from convsv_cli.report import Settings, Sweep, Swept
from convsv_cli.sweeping import Outcomes, discover, summary_of, sweep
from tests.support import json_schemas
from tests.support.inline_executor import InlineExecutor

QUICK = Settings(network_effort="quick")
EVIL = "=1+<script>alert(1)</script>\x1b[31m|`=HYPERLINK(1)`"
FORMATS = [renderer.name for renderer in SWEEPS]


def save(path, scale):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"small.weight": torch.eye(3), "large.weight": scale * torch.eye(4)}, path)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of six models: a training whose norms double, two that are not far from it, and one that is."""
    root = tmp_path_factory.mktemp("sweep")
    for step in (2, 10, 9):
        save(root / "tree" / f"run1/epoch{step}.pt", 2.0**step if step < 10 else 8.0)
    save(root / "tree" / "a.pt", 5.0)
    torch.save(
        torch.load(root / "tree" / "a.pt") | {"nan.weight": torch.full((2, 2), torch.nan)},
        root / "tree" / "a.pt",
    )
    save(root / "tree" / "b.pt", 7.0)
    (root / "tree" / "run1" / "=cmd.pt").write_bytes(b"no model")
    (root / "tree" / "again.pt").symlink_to("b.pt")
    sweep(discover([str(root / "tree")]), QUICK, Outcomes(root / "results", QUICK), InlineExecutor())
    return root / "results"


def shown(results, *options):
    result = CliRunner().invoke(cli, ["report", str(results), *options], standalone_mode=False)
    assert result.exception is None, result.exception
    return result.stdout


def test_files_that_are_far_above_the_others_are_found(results):
    found = summary_of(results)
    assert found.counts == {"audited": 4, "failed": 1, "incomplete": 1, "same": 1}
    assert [file.reason for file in found.files if file.status == "incomplete"] == [
        "1 of 3 rows have no figures, as the weight holds NaN or infinity"
    ]
    (far,) = found.outliers
    assert far.path.endswith("epoch9.pt")
    assert far.outlier == "largest norm 10^1.9 times the median"  # of 4, 5, 7, 8 and 512
    assert (far.largest_layer, far.layers, far.audited) == ("large", 2, 2)
    assert far.largest == pytest.approx(512, rel=1e-3)


def test_numbered_files_are_a_series_in_the_order_of_their_numbers(results):
    (series,) = summary_of(results).series
    assert series.name.endswith("run1/epoch*.pt")
    assert [step.number for step in series.steps] == [2, 9, 10]
    assert series.norms == pytest.approx(8 / 4, rel=1e-3)


def test_rows_are_for_programs_too(results):
    rows = list(csv.DictReader(io.StringIO(shown(results, "-f", "csv"))))
    assert list(rows[0]) == list(CSV_HEADINGS)
    numbers = {row["path"].rpartition("/")[2]: row["step"] for row in rows if row["step"]}
    assert numbers == {"epoch2.pt": "2", "epoch9.pt": "9", "epoch10.pt": "10"}
    document = json.loads(shown(results, "-f", "json"))
    schema = json_schemas.SCHEMAS[document["$schema"].rpartition(":")[2]]()
    jsonschema.Draft202012Validator(schema).validate(document)
    assert [file["path"] for file in document["files"]] == [row["path"] for row in rows]


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_have_all_files(results, name):
    text = shown(results, "-f", name)
    for file in ("epoch2.pt", "epoch9.pt", "epoch10.pt", "a.pt", "b.pt", "=cmd.pt", "again.pt"):
        assert file in text
    assert "epoch*.pt" in text
    assert "10^1.9 times the median" in text


@pytest.mark.parametrize("name", FORMATS)
def test_names_of_files_and_layers_are_text(name):
    file = Swept(path=EVIL, status="failed", reason=EVIL, largest_layer=EVIL, outlier=EVIL, same_as=EVIL)
    (renderer,) = (renderer for renderer in SWEEPS if renderer.name == name)
    text = renderer.render(Sweep(version="1", path=EVIL, files=(file,), series=()), Terminal())
    assert "\x1b" not in text
    assert name in ("table", "csv", "json") or "<script>alert" not in text
    assert name != "csv" or not any(
        cell.startswith("=") for row in csv.reader(text.splitlines()) for cell in row
    )


def test_a_folder_without_results_and_a_format_without_sense_are_one_line(tmp_path, results):
    for arguments, told in (
        ([str(tmp_path)], "not the results of a sweep"),
        ([str(results), "-f", "sarif"], "have no format sarif"),
    ):
        error = CliRunner().invoke(cli, ["report", *arguments], standalone_mode=False).exception
        assert told in str(error)
