"""What `convsv certify` writes: valid, complete, inert, rounded towards what is proven."""

from __future__ import annotations

import csv
import io
import json
import shlex
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

from convsv_cli import arguments
from convsv_cli.cli.certify import certify as command
from convsv_cli.errors import UsageError
from convsv_cli.renderers.certification import RENDERERS
from convsv_cli.renderers.certification.curve import chart_of, last_radius, points, ticks
from convsv_cli.renderers.certification.html import command_of
from convsv_cli.renderers.certification.text import reasons
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import COVARIANCE, THOROUGH, Certification
from tests.support import exported_nets
from tests.support.certifications import CERTIFICATION, EDGES, NOTHING, SAMPLES, named
from tests.support.command_line import convsv
from tests.support.html_reports import HOSTILE
from tests.support.outline import Outline

FORMATS = {renderer.name: renderer.render for renderer in RENDERERS}


def render(name: str, certification: Certification = CERTIFICATION) -> str:
    return FORMATS[name](certification, Terminal())


def test_counts() -> None:
    assert (CERTIFICATION.correct, CERTIFICATION.certified(0.5), CERTIFICATION.certified(0.1)) == (5, 1, 4)
    assert [(level.certified, level.robust) for level in CERTIFICATION.levels] == [(4, 4), (1, 3)]
    assert [(level.undecided, level.attacked) for level in CERTIFICATION.levels] == [(0, 1), (2, 2)]
    (alone,) = EDGES["not attacked"].levels
    assert (alone.undecided, alone.attacked) == (4, None)
    assert [radius for _, radius in CERTIFICATION.quantiles] == [0.0, 0.0, 0.2, 0.40001, 0.5, 0.5, 0.7]


def test_table() -> None:
    text = render("table")
    assert text.splitlines()[:9] == [
        "net.onnx · onnx opset 20 · image 1×3×32×32 · 6 samples of data.npz",
        "",
        "  clean accuracy               83.33 %   5 of 6",
        "  certified at 0.1             66.66 %   4 of 6",
        "  robust to PGD at 0.1         66.67 %   4 of 6",
        "  undecided at 0.1              0.00 %   0 of 6",
        "  certified at 0.5             16.66 %   1 of 6",
        "  robust to PGD at 0.5         50.00 %   3 of 6",
        "  undecided at 0.5             33.33 %   2 of 6",
    ]
    assert "0.4000" in text
    assert "Lipschitz bound of the network ≤ 12.35" in text


def test_one_sample_is_one_sample() -> None:
    route = replace(CERTIFICATION.routes[0], best=1)
    text = render("table", replace(CERTIFICATION, samples=SAMPLES[:1], routes=(route,)))
    assert "radii of the 1 correctly classified sample" in text
    assert "· 1 sample of" in text
    assert "the largest radius for 1 sample." in text


def test_json_validates_and_the_schema_can_fail() -> None:
    schema = files("convsv_cli.renderers").joinpath("schema/certification-1.schema.json").read_text()
    validator = jsonschema.Draft202012Validator(json.loads(schema))
    validator.check_schema(json.loads(schema))
    for certification in EDGES.values():
        validator.validate(json.loads(render("json", certification)))
    document = json.loads(render("json"))
    assert document["accuracy"] == 5 / 6
    assert document["levels"][1]["certified_accuracy"] == 1 / 6
    assert document["levels"][1]["gap"] == 2 / 6
    for broken in (
        {**document, "schema_version": "2.0"},
        {**document, "accuracy": 1.5},
        {**document, "routes": [{"name": "guess"}]},
        {key: value for key, value in document.items() if key != "levels"},
    ):
        assert not validator.is_valid(broken)


def test_csv_has_a_row_a_sample_in_full_precision() -> None:
    rows = list(csv.DictReader(io.StringIO(render("csv"))))
    assert [float(row["radius"]) for row in rows] == [sample.radius for sample in SAMPLES]
    assert [row["broken_at"] for row in rows] == ["", "0.5", "", "", "0.1", ""]
    assert [row["correct"] for row in rows] == ["true", "true", "true", "false", "true", "true"]


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", FORMATS)
def test_every_outcome_can_be_written(name: str, edge: str) -> None:
    text = render(name, EDGES[edge])
    assert text.endswith("\n")
    assert "None" not in text
    assert "nan" not in text.lower().replace("nanmean", "")


@pytest.mark.parametrize("edge", EDGES)
def test_svg_is_well_formed_and_alone(edge: str) -> None:
    text = render("svg", EDGES[edge])
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    inside = {element.tag.partition("}")[2] for element in root.iter()}
    assert inside <= {"svg", "title", "desc", "style", "rect", "line", "text", "path", "circle"}
    assert "href" not in text
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    assert all(0 <= float(c.get("cx", "-1")) <= 720 and 0 <= float(c.get("cy", "-1")) <= 380 for c in circles)


def corners(path: str) -> list[tuple[float, float]]:
    return [tuple(map(float, each.split())) for each in path.strip("MZ").split("L")]


def height(area: str, x: float) -> float:
    """Of a band, which two staircases with their corners at the same places on both sides bound."""
    found = corners(area)
    middle = next(i for i in range(1, len(found)) if found[i][0] == found[i - 1][0] == max(found)[0])
    above, below = found[:middle], found[middle:][::-1]
    upper, lower = (next(y for (_, y), (to, _) in pairwise(s) if to > x) for s in (above, below))
    return lower - upper


def test_the_bands_are_all_samples() -> None:
    """At each radius each sample is in one band."""
    for name, found in EDGES.items():
        chart, total = chart_of(found), len(found.samples)
        whole = chart.bottom - chart.top
        for share in (0.15, 0.42, 0.77):
            radius = share * last_radius(found)
            heights = {
                b.name: height(b.area, chart.left + share * (chart.right - chart.left)) for b in chart.bands
            }
            assert sum(heights.values()) == pytest.approx(whole, abs=0.5), name
            assert heights["certified"] <= whole * found.certified(radius) / total + 0.5
            assert heights["wrong"] == pytest.approx(whole * (1 - found.correct / total), abs=0.5)
            tried = found.attack is not None and not found.attack.failure
            broken = tried * sum(s.broken is not None and s.broken <= radius for s in found.samples)
            assert heights.get("attacked", 0.0) == pytest.approx(whole * broken / total, abs=0.5), name


def test_the_curve_falls_and_ends_at_zero() -> None:
    for certification in EDGES.values():
        shares = [point.share for point in points(certification, 50)]
        assert shares == sorted(shares, reverse=True)
    assert points(CERTIFICATION, 50)[0].share == 5 / 6
    assert points(CERTIFICATION, 50)[-1].share == 0


@pytest.mark.parametrize("end", [1e-12, 0.3, 1.0, 7.0, 123.0])
def test_ticks_are_few_and_inside(end: float) -> None:
    found = ticks(end)
    assert found[0] == 0
    assert 3 <= len(found) <= 7
    assert found[-1] <= end * (1 + 1e-9)


@pytest.mark.parametrize("text", HOSTILE)
def test_pages_are_inert(text: str) -> None:
    hostile = named(text)
    plain, page = Outline(render("html")), Outline(render("html", hostile))
    assert {element for element, _ in page.elements} <= {element for element, _ in plain.elements}
    assert not [a for _, names in page.elements for a in names if a.startswith("on")]
    assert "\x1b" not in render("table", hostile)
    assert "\u202e" not in render("table", hostile) + render("html", hostile)


def test_almost_nothing_is_said_with_the_reason() -> None:
    assert list(reasons(CERTIFICATION)) == []
    tiny = "\n".join(reasons(EDGES["tiny"]))
    assert "nothing is certified: the Lipschitz bound is 12.35" in tiny
    assert "conv1 (≤ 4.000, 55 % of its logarithm)" in tiny
    assert "nothing is certified: the network has no bound" in next(reasons(NOTHING))


def test_what_looks_like_guesses_is_said_to_be_odd() -> None:
    """One of three classes each time: right of a third of the samples, or of all but one."""
    label = replace(SAMPLES[0], label=2, predicted=2)
    wrong = replace(label, label=0, broken=None)
    lucky, good = (replace(CERTIFICATION, samples=(label,) * n + (wrong,) * (30 - n)) for n in (10, 29))
    said = "only 10 of 30 samples are classified correctly, hardly more than by chance"
    assert said in next(reasons(lucky))
    assert "by chance" not in "".join(reasons(good))
    assert "by chance" not in "".join(reasons(replace(lucky, samples=lucky.samples[5:15])))


def test_decided_radii_are_not_taken_for_all_that_can_be_proven() -> None:
    asked = replace(CERTIFICATION.settings, radii=False)
    said = "--radii looks for the radius of each sample"
    for name in ("table", "html"):
        assert said in render(name, replace(CERTIFICATION, settings=asked))
        assert said not in render(name)
    assert said not in render("table", replace(NOTHING, settings=asked)), "local bounds decided nothing"


@pytest.mark.parametrize("interrupted", [True, False])
def test_what_is_not_complete_says_so(interrupted: bool) -> None:
    open_ = tuple(replace(sample, ended=index > 1) for index, sample in enumerate(SAMPLES))
    found = replace(CERTIFICATION, samples=open_, complete=False, interrupted=interrupted)
    said = "interrupted" if interrupted else "still at work"
    for name in ("table", "html", "svg"):
        text = render(name, found).lower()
        assert f"{said}: what is proven holds" in text
        assert "2 of 6 samples, of which more may be proven" in text
        assert "what is proven holds" not in render(name)
    document = json.loads(render("json", found))
    assert (document["complete"], document["interrupted"]) == (False, interrupted)
    assert [sample["ended"] for sample in document["each"]] == [False, False, True, True, True, True]
    assert [row["ended"] for row in csv.DictReader(io.StringIO(render("csv", found)))][:3] == [
        "false",
        "false",
        "true",
    ]
    ended = replace(found, samples=SAMPLES)
    assert f"{said}: all radii are final" in render("table", ended)


def test_blocks_that_were_bounded_at_once_are_no_product_of_worst_cases() -> None:
    bound = EDGES["tiny"].bound
    at_once = replace(bound, blocks=tuple(replace(block, route=COVARIANCE) for block in bound.blocks))
    found = replace(EDGES["tiny"], bound=at_once)
    assert "multiplies the worst cases of 2 blocks" in "\n".join(reasons(EDGES["tiny"]))
    assert "the worst case of each activation in 2 blocks" in "\n".join(reasons(found))
    said = "none need be one of its block by itself"
    assert said in render("html", found)
    assert said not in render("html", EDGES["tiny"])
    assert json.loads(render("json", found))["network"]["blocks"][0]["route"] == COVARIANCE


def test_a_fraction_is_told_as_it_was_given_and_with_its_value() -> None:
    radii, given = arguments.radii(["0.50", "36/255", 0.5])
    assert (radii, given) == ((36 / 255, 0.5), ("36/255", "0.50"))
    found = replace(CERTIFICATION, settings=replace(CERTIFICATION.settings, eps=radii, eps_given=given))
    table = render("table", found).splitlines()
    assert table[3].startswith("  certified at 36/255 (0.141176)      ")
    assert table[6].startswith("  certified at 0.5                    ")
    assert len({line.index("%") for line in table[2:9]}) == 1
    assert json.loads(render("json", found))["settings"]["eps_given"] == ["36/255", "0.50"]
    page = render("html", found)
    assert "certified at radius 36/255 (0.141176)" in page
    assert "--eps=36/255 --eps=0.50" in page
    for wrong in ("", "0", "-1", "1/0", "a", "inf", "nan", 0, []):
        with pytest.raises(UsageError, match="radi"):
            arguments.radii(wrong)


def test_the_command_says_it_again() -> None:
    asked = replace(
        CERTIFICATION.settings,
        normalized=True,
        limit=7,
        input_mean=(0.5, 0.25),
        input_range=(-1.0, 1.0),
        tolerance=1e-3,
        network_effort=THOROUGH,
        graph="graphs/net.onnx",
    )
    line = shlex.split(command_of(replace(CERTIFICATION, settings=asked)))
    assert line[:2] == ["convsv", "certify"]
    parsed = command.make_context("certify", line[2:]).params
    assert parsed["eps"] == tuple(map(repr, asked.eps))
    assert (parsed["limit"], parsed["attack"], parsed["normalized"]) == (7, True, True)
    assert (parsed["input_mean"], parsed["input_std"]) == (asked.input_mean, asked.input_std)
    assert (parsed["input_range"], parsed["tolerance"]) == (asked.input_range, 1e-3)
    assert parsed["network_effort"] == THOROUGH
    assert parsed["graph"] == Path(asked.graph)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certify")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    exported_nets.export(net, (1, 2, 2, 2), path / "net.onnx", dynamo=False)
    x = torch.randn(12, 2, 2, 2)
    np.savez(path / "data.npz", x=x.numpy(), y=net(x).argmax(1).numpy())
    return path


def test_every_suffix_writes_its_format(folder: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"out{suffix}" for renderer in RENDERERS for suffix in renderer.suffixes]
    asked = [word for path in outputs for word in ("-o", path)]
    process = convsv("certify", folder / "net.onnx", "--data", folder / "data.npz", "--eps", "36/255", *asked)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    starts = {".txt": str(folder), ".json": "{", ".csv": "sample,", ".html": "<!DOCTYPE", ".svg": "<svg"}
    for path in outputs:
        assert path.read_text().startswith(starts.get(path.suffix, "<!DOCTYPE"))
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["settings"]["eps"] == [36 / 255]
    assert document["correct"] == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eps", "0"], "invalid radius '0': use 0.5 or 36/255"),
        (["--eps", "1/0"], "invalid radius '1/0'"),
        (["--input-std", "a,b"], "invalid numbers 'a,b'"),
        (["--limit", "0"], "0 is not in the range"),
        (["--pixel-range", "1,0"], "invalid range '1,0': use LO,HI, such as 0,1"),
        (["--pixel-range", "0,0.1"], "data.npz: its samples leave the range 0 to 0.1: they go from -"),
        (["--effort", "much"], "'much' is not one of 'none', 'quick', 'normal', 'thorough'"),
        (["--arithmetic", "float8"], "'float8' is not one of 'real', 'float32', 'float16', 'bfloat16'"),
        (["--data", "odd.npz"], "NaN or infinity: 1 of 2, the first at 1 (leave these out)"),
        (
            ["--data", "uneven.npz"],
            "samples 2x8 and classes 1 do not fit together (there has to be one class",
        ),
        (["--data", "none.npz"], "none.npz: no such file"),
        (["-o", "out.pdf"], "the suffix implies no format"),
        (["-o", "net.onnx"], "the output would replace an input"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    np.savez("odd.npz", x=np.array([[0.0] * 8, [np.nan] * 8]), y=np.zeros(2, int))
    np.savez("uneven.npz", x=np.zeros((2, 8)), y=np.zeros(1, int))
    process = convsv("certify", "net.onnx", "--data", "data.npz", *arguments)
    assert process.returncode == 2
    assert message in process.stderr
    assert process.stderr.count("\n") == 1
