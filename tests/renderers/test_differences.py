"""`convsv diff` in every format: what each says, that it is inert, and which suffix chooses it."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from convsv_cli.budget import judged
from convsv_cli.comparison import difference
from convsv_cli.renderers.comparison import DIFFERENCES
from convsv_cli.renderers.json import render as saved
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Difference, Report, Update
from tests.support import json_schemas
from tests.support.command_line import convsv
from tests.support.gates import row
from tests.support.html_reports import HOSTILE
from tests.support.outline import Outline
from tests.support.ratchets import bounded, ratchet

OLD = bounded(4, row("kept", 1, 1.5), row("grown", 1, 1), row("gone", 1, 1, kernel_shape=(7, 3)))
NEW = bounded(2, row("kept", 1, 1.5), row("grown", 3, 3), row("fresh", 1, math.inf, kernel_shape=(3, 7)))
FORMATS = {renderer.name: renderer.render for renderer in DIFFERENCES}


def rendered(name: str, found: Difference | None = None) -> str:
    return FORMATS[name](found or difference(OLD, NEW), Terminal())


def named(text: str) -> Difference:
    """With that text in every place of a file that a difference shows."""
    old, new = (replace(each, model=replace(each.model, path=text)) for each in (OLD, NEW))
    return difference(old, replace(new, layers=(replace(new.layers[0], name=text), *new.layers[1:])))


CASES = {
    "plain": difference(OLD, NEW),
    "same": difference(OLD, OLD),
    "judged": difference(OLD, judged(ratchet(OLD), NEW)),
    "empty": difference(replace(OLD, layers=()), replace(OLD, layers=())),
    "hostile": named("".join(HOSTILE)),
}


def test_the_csv_has_a_row_a_layer_in_full_precision() -> None:
    rows = {row["layer"]: row for row in csv.DictReader(io.StringIO(rendered("csv")))}
    assert list(rows) == ["", "kept", "grown", "fresh", "gone"]
    assert (rows[""]["change"], rows[""]["old_upper"], rows[""]["ratio"]) == ("smaller", "4", "0.5")
    assert rows["grown"]["change"] == "larger"
    assert [rows["grown"][f"{side}_lower"] for side in ("old", "new")] == ["1", "3"]
    assert (rows["fresh"]["change"], rows["fresh"]["new_lower"], rows["fresh"]["new_upper"]) == (
        "added",
        "1",
        "",
    )
    assert (rows["gone"]["change"], rows["gone"]["new_lower"], rows["gone"]["ratio"]) == ("removed", "", "")


@pytest.mark.parametrize("case", CASES)
def test_json_validates_and_csv_says_the_same(case: str) -> None:
    document = json.loads(rendered("json", CASES[case]))
    schema = json.loads((json_schemas.FOLDER / "diff-1.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["outcome"] == {"judged": "failed"}.get(case)
    rows = csv.DictReader(io.StringIO(rendered("csv", CASES[case])))
    assert [row["change"] for row in rows] == [change["change"] for change in document["changes"]]


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_well_formed_and_says_what_the_table_says(case: str) -> None:
    outline = Outline(rendered("html", CASES[case]))
    assert not outline.open
    assert outline.headings[0] == 1
    assert all(b <= a + 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    kinds = [change.kind for change in CASES[case].changes]
    cells = [text.partition(" (was")[0] for text in outline.texts]
    assert sorted(cell for cell in cells if cell in kinds) == sorted(kinds)


def test_every_format_for_people_says_why_there_are_no_figures() -> None:
    lost = replace(row("lost", 1, 1), status="invalid", reason="it holds NaN", measurements=())
    adapter = row("kept", 1, 1, update=Update(kind="LoRA", rank=1, scale=1.0))
    found = difference(bounded(4, adapter), bounded(2, row("kept", 1, 1), lost))
    for name in ("table", "markdown", "html"):
        text = rendered(name, found)
        assert "not audited: 1 layer of" in text
        assert "it holds NaN" in text.partition("not audited: ")[2]
        assert "is an adapter: its figures are of what it adds" in text


def test_the_page_names_the_limits_that_are_exceeded() -> None:
    page = rendered("html", CASES["judged"])
    assert "Limits that need attention" in page
    assert "main.json" in page


def test_names_from_files_are_inert_in_every_format() -> None:
    tags = [tag for tag, _ in Outline(rendered("html", CASES["hostile"])).elements]
    assert tags.count("script") == tags.count("style") == 1
    assert not {"img", "iframe"} & set(tags)
    for name in FORMATS:
        assert "\x1b" not in rendered(name, CASES["hostile"])
    assert "\nlayer,'=cmd" in rendered("csv", named("=cmd"))


def test_every_suffix_chooses_its_format(tmp_path: Path) -> None:
    for name, one in (("old", OLD), ("new", NEW)):
        (tmp_path / f"{name}.json").write_text(saved(Report(command="audit", audits=(one,)), Terminal()))
    files = {suffix: tmp_path / f"out{suffix}" for each in DIFFERENCES for suffix in each.suffixes}
    asked = [word for path in files.values() for word in ("-o", path)]
    process = convsv("diff", tmp_path / "old.json", tmp_path / "new.json", *asked)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    starts = {
        ".txt": "net.onnx → net",
        ".json": "{",
        ".csv": "kind,layer,",
        ".md": "`net.onnx`",
        ".markdown": "`net",
    }
    for suffix, path in files.items():
        assert path.read_text().startswith(starts.get(suffix, "<!DOCTYPE html>")), suffix
