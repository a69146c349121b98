"""The HTML page as text: self-contained, inert, complete, small."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import shlex
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli import report
from convsv_cli.cli.audit import audit as audit_command
from convsv_cli.renderers.audit_text import factor
from convsv_cli.renderers.html.axis import Scale, scale_of
from convsv_cli.renderers.html.facts import command_of
from convsv_cli.renderers.html.layers import outline
from convsv_cli.renderers.html.network import block_table, story_of
from convsv_cli.renderers.html.verdict import headline_of, proven
from convsv_cli.renderers.numbers import LOWER, as_written, figure
from convsv_cli.report import Gate, Interval, Settings, Verdict
from tests.support import html_reports as samples
from tests.support.outline import Outline

LARGEST = 1_500_000


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return samples.cases()


def test_a_page_vouches_for_its_own_style_and_script_and_for_nothing_else(pages: dict[str, str]) -> None:
    for page in pages.values():
        (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
        rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
        assert rules["default-src"] == "'none'"
        for tag, rule in (("style", "style-src"), ("script", "script-src")):
            (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert rules[rule] == f"'sha256-{digest}'"


def test_a_page_refers_to_nothing_outside(pages: dict[str, str]) -> None:
    for page in pages.values():
        outline = Outline(page)
        targets = {value for name, value in outline.values if name in ("href", "src", "action", "srcset")}
        ids = Counter(value for name, value in outline.values if name == "id")
        assert all(target.startswith(("#", "data:image/svg+xml,")) for target in targets)
        assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
        assert set(ids.values()) <= {1}
        assert "url(" not in page
        assert "@import" not in page


def test_a_page_is_well_formed_and_its_headings_are_in_order(pages: dict[str, str]) -> None:
    for page in pages.values():
        outline = Outline(page)
        assert not outline.open
        assert outline.headings.count(1) == 1
        assert outline.headings[0] == 1
        assert all(b <= a + 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
        attributes = {name for _, names in outline.elements for name in names}
        assert "style" not in attributes
        assert not {name for name in attributes if name.startswith("on")}


def test_names_from_files_are_inert(pages: dict[str, str]) -> None:
    tags = Counter(tag for tag, _ in Outline(pages["hostile"]).elements)
    assert tags["script"] == tags["style"] == 1
    assert not tags["img"]
    assert all(character.isprintable() or character == "\n" for character in pages["hostile"])
    pages["hostile"].encode("utf-8")


@settings(max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5))
def test_no_name_changes_what_a_page_is_made_of(names: list[str]) -> None:
    page = samples.render(samples.named(*names))
    innocent = samples.render(samples.named(*(f"name{names.index(name)}" for name in names)))
    assert Outline(page).elements == Outline(innocent).elements
    assert all(character.isprintable() or character == "\n" for character in page)


def test_every_figure_is_there_and_upper_ends_are_rounded_up() -> None:
    sample = samples.resnet()
    text = "\n".join(Outline(samples.render(sample)).texts)
    for layer in sample.layers:
        assert layer.name in text
        for method in sample.methods:
            measurement = layer.measurement(method.name)
            if measurement is not None and method.kind in (report.UPPER, report.CERTIFIED):
                shown = figure(measurement.value, method.kind)
                assert float(shown) >= measurement.value
                assert shown in text
    for said in (
        sample.model.sha256,
        *sample.bound.assumptions,
        figure(sample.bound.lipschitz, report.UPPER),
    ):
        assert said in text
    assert all(method.proves in text and method.reference in text for method in sample.methods)


def test_histograms_have_every_value_and_no_bin_is_lost() -> None:
    page = samples.render(samples.resnet())
    for spectrum in samples.resnet().spectra:
        counts = spectrum.distribution.histogram
        assert f'd="{outline(counts)}"' in page
        assert f'viewBox="0 0 {len(counts)} 100"' in page
        assert sum(counts) == spectrum.distribution.count
        heights = [100 - float(top) for top in re.findall(r"V([\d.]+)h1", outline(counts))]
        assert len(heights) == len(counts)
        assert max(heights) == 100
        for height, count in zip(heights, counts, strict=True):
            assert height == pytest.approx(max(1.5, 100 * count / max(counts)) if count else 0, abs=0.02)
    assert "3,072 singular values, n 32" in page
    assert "10 singular values</span>" in page


def test_what_stands_in_the_way_is_all_named() -> None:
    sample = samples.unbounded()
    text = "\n".join(Outline(samples.render(sample)).texts)
    for said in ("gate0", "gate8", "a product", "5.001", "holds NaN", "also holds 'ema': not audited"):
        assert said in text
    assert "2 layers could not be audited" in text
    assert "91 % coverage" in text
    assert "Where the bound comes from" not in text


def test_a_page_of_300_layers_is_small() -> None:
    assert len(samples.render(samples.deep(300)).encode()) < LARGEST


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_lower_ends_are_rounded_down_by_less_than_one_digit(value: float) -> None:
    assert value * 0.999 * (1 - 1e-12) <= float(figure(value, LOWER)) <= value


@given(st.lists(st.floats(min_value=-400, max_value=400), min_size=1))
def test_an_axis_has_room_for_all_and_two_ticks(logs: list[float]) -> None:
    scale = scale_of([*logs, float("inf"), float("-inf")])
    places = [scale.at(value) for value in sorted(logs)]
    assert places == sorted(places)
    assert 0 < places[0] <= places[-1] < 100
    assert 2 <= len(scale.ticks) <= 12
    assert (scale.at(float("-inf")), scale.at(float("inf"))) == (0, 100)


def test_ticks_are_where_their_labels_say() -> None:
    scale = Scale(low=-1, high=1)
    assert [(tick.label, tick.at) for tick in scale.ticks] == [
        ("0.1", 0.0), ("0.2", 15.05), ("0.5", 34.95), ("1", 50.0), ("2", 65.05), ("5", 84.95), ("10", 100.0),
    ]  # fmt: skip
    assert [tick.label for tick in Scale(low=-7, high=8).ticks] == ["10⁻⁶", "0.001", "1", "1000", "10⁶"]


def test_blocks_lead_from_one_to_the_bound() -> None:
    bound = samples.resnet().bound
    table = block_table(bound.blocks)
    assert table is not None
    assert table.scale is not None
    assert bound.log10 is not None
    steps = [track.marks[0] for _, track in table.rows if track]
    assert len(steps) == len(bound.blocks)
    assert steps[0].start == table.scale.at(0.0)
    assert steps[-1].end == pytest.approx(table.scale.at(bound.log10), abs=0.02)
    assert table.heaviest is not None
    assert table.heaviest.factor == max(block.factor for block in bound.blocks)
    endless = (*bound.blocks[:2], replace(bound.blocks[2], factor=float("inf"), share=None))
    unbounded = block_table(endless)
    assert unbounded is not None
    assert unbounded.scale is None
    assert factor(unbounded.rows[-1][0]) == "unbounded"


@pytest.mark.parametrize(
    ("product", "said"),
    [(1e3, "100.0 times the certified bound"), (0.1, "100.0 times smaller"), (10, "agree")],
)
def test_the_story_says_what_a_product_would_have_said(product: float, said: str) -> None:
    sample = samples.resnet()
    bound = replace(sample.bound, lipschitz=10.0, log10=1.0)
    network = replace(sample.network, product=(("certified", product),))
    assert said in story_of(replace(sample, bound=bound, network=network))


def test_a_bound_beyond_floating_point_has_a_page() -> None:
    sample = samples.resnet()
    bound = replace(sample.bound, lipschitz=math.inf, log10=400.0)
    sample = replace(sample, bound=bound, network=replace(sample.network, product=(("certified", 10.0),)))
    assert "10^399 times smaller" in story_of(sample)
    assert "10^399 times smaller" in samples.render(sample)


PROVEN = Interval(lower=1.0, upper=2.0)


@pytest.mark.parametrize(
    ("outcomes", "tone", "title"),
    [
        ([report.PASSED, report.IGNORED], "pass", "Within budget"),
        ([report.PASSED, report.EXCEEDED, report.MISSING], "fail", "Budget exceeded"),
        ([report.PASSED, report.UNDECIDED], "warn", "Budget undecided"),
        ([report.MISSING], "warn", "Budget undecided"),
        ([], "warn", "Nothing to judge"),
    ],
)
def test_the_verdict_comes_first(outcomes: list[str], tone: str, title: str) -> None:
    gates = tuple(Gate(node=f"l{i}", limit=2.0, enclosure=PROVEN, outcome=o) for i, o in enumerate(outcomes))
    sample = replace(samples.resnet(), verdict=Verdict(budget="b.toml", gates=gates))
    headline = headline_of(sample)
    assert (headline.tone, headline.title) == (tone, title)
    page = samples.render(sample, command="check")
    assert page.index(title) < page.index("<table")


def test_what_misses_a_limit_by_little_is_shown_with_more_digits() -> None:
    near = Gate(
        node="a", limit=4.6, enclosure=Interval(lower=4.58877, upper=4.600001), outcome=report.UNDECIDED
    )
    assert proven(near) == "4.5887700 … ≤ 4.6000010"
    assert proven(replace(near, limit=7.0)) == "4.588 … ≤ 4.601"
    assert proven(replace(near, enclosure=Interval())) == "no upper end"
    assert proven(replace(near, enclosure=None)) == "nothing"


@pytest.mark.parametrize(
    ("value", "text"), [(5.06, "5.06"), (1e9, "1e9"), (1234567.0, "1.234567e6"), (12, "12")]
)
def test_limits_are_shown_as_users_wrote_them(value: float, text: str) -> None:
    assert as_written(float(value)) == text


def test_the_command_gives_the_same_settings() -> None:
    asked = Settings(
        exact=True,
        input_size=(224, 160),
        input_shapes=(("x y", (1, 3)),),
        layers=("layer4.*", "fc"),
        as_stride_1=True,
        tolerance=1e-6,
        work_limit=1e9,
        input_range=(-1.0, 0.5),
        empirical="random",
        spectra=("conv1",),
        device="cuda",
        network_effort="thorough",
    )
    sample = samples.resnet()
    sample = replace(sample, settings=asked, model=replace(sample.model, path="a 'model'.onnx"))
    program, command, *words = shlex.split(command_of(sample))
    given_words = audit_command.make_context("audit", words).params
    assert (program, command) == ("convsv", "audit")
    assert list(map(str, given_words["models"])) == ["a 'model'.onnx"]
    assert tuple(given_words["input_shapes"]) == asked.input_shapes
    for name in (
        "exact",
        "input_size",
        "layers",
        "spectra",
        "as_stride_1",
        "tolerance",
        "work_limit",
        "input_range",
        "network_effort",
    ):
        assert given_words[name] == getattr(asked, name), name
    assert (given_words["empirical"], given_words["device"]) == ("random", "cuda")


def test_several_models_have_a_summary(pages: dict[str, str]) -> None:
    text = " ".join(Outline(pages["several"]).texts)
    assert "5 models" in text
    assert "Budget exceeded: 1 of 5 models" in text
    assert "broken.onnx: not an ONNX file (exit code 2)" in text
    alone = " ".join(Outline(pages["nothing"]).texts)
    assert alone.count("Not audited") == 1
    assert "Nothing was audited" in samples.render()
