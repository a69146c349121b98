"""Markdown: no name breaks out of its cell, the worst rows come first, and GitHub's limit is kept."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli import report
from convsv_cli.names import printable
from convsv_cli.renderers.markdown import code, fenced, prose
from convsv_cli.report import Audit, Failure, Gate, Interval, Measurement, Report, Verdict
from tests.support.documents import AUDIT, AUDITED
from tests.support.rendered import rendered

MIB = 2**20


def sized(count: int, name: str = "layer") -> Audit:
    """An audit of so many layers, the last one the worst."""
    layers = []
    for i in range(count):
        norm = Measurement(value=1.0 + i, enclosure=Interval(upper=1.0 + i))
        layers.append(
            replace(AUDITED, name=f"{name}{i}", measurements=(("certified", norm), ("bound", norm)))
        )
    return replace(AUDIT, layers=tuple(layers))


def names(text: str) -> list[str]:
    return re.findall(r"^\| `(layer\d+)`", text, re.MULTILINE)


@given(st.text(alphabet=st.sampled_from("`|\\<>&*_[]() \n@#a"), max_size=30) | st.text(max_size=300))
def test_a_name_is_one_cell_and_nothing_else(name: str) -> None:
    span = code(name)
    assert "\n" not in span
    assert "|" not in span
    if span.startswith("`"):
        assert span.count("`") == 2
        inner = span[1:-1]
    else:
        inner = span.removeprefix("<code>").removesuffix("</code>")
        assert not re.search(r"[^\w &#;]", inner)
        inner = unescape(inner)
    shown = printable(name) or " "
    assert inner == (shown if len(shown) <= 200 else f"{shown[:199]}…")


@given(st.lists(st.text(alphabet="`~ a"), max_size=5))
def test_no_line_closes_a_fence(lines: list[str]) -> None:
    first, *inner, last = fenced(lines).split("\n")
    assert first == f"{last}text"
    assert not any(line.strip().startswith(last) for line in inner)


@pytest.mark.parametrize(
    "text",
    [
        "<script>",
        "a | b",
        "[x](y)",
        "*bold*",
        "_a_",
        "@someone",
        "http://x",
        "www.x.com",
        "a\nb",
        "- a",
        "#1",
    ],
)
def test_prose_that_could_be_markup_is_a_code_span(text: str) -> None:
    assert prose(text) == code(text)
    assert prose(f"a look-up ({len(text)} %): none") == f"a look-up ({len(text)} %): none"


def test_the_worst_20_rows_then_all_of_them_folded_away() -> None:
    text = rendered("markdown", Report(command="audit", audits=(sized(30),)))
    worst, everything = text.split("<details>")
    assert names(worst) == [f"layer{i}" for i in range(29, 9, -1)]
    assert names(everything) == [f"layer{i}" for i in range(30)]
    assert everything.rstrip().endswith("</details>")
    assert "<details>" not in rendered("markdown", Report(command="audit", audits=(sized(20),)))


def test_gates_that_did_not_pass_and_rows_without_figures_come_first() -> None:
    audit = sized(3)
    skipped = replace(AUDITED, name="layer9", status=report.UNSUPPORTED, measurements=())
    outcomes = {"layer0": report.EXCEEDED, "layer1": report.UNDECIDED, "layer2": report.IGNORED}
    gates = tuple(Gate(node=node, limit=1.0, outcome=outcome) for node, outcome in outcomes.items())
    passed = tuple(replace(gate, outcome=report.PASSED) for gate in gates)
    audit = replace(
        audit, layers=(*audit.layers, skipped), verdict=Verdict(budget="b", gates=(*gates, *passed))
    )
    assert names(rendered("markdown", Report(command="check", audits=(audit,)))) == [
        "layer0",
        "layer1",
        "layer9",
        "layer2",
    ]


@pytest.mark.parametrize(
    ("count", "name", "audits", "failures"),
    [(20_000, "layer", 1, 0), (300, "💥" * 1000, 9, 0), (2, "`|" * 10**4, 500, 0), (1, "a", 1, 30_000)],
)
def test_no_document_is_larger_than_github_takes(count: int, name: str, audits: int, failures: int) -> None:
    failed = Failure(path="x", message="broken " * 10, exit_code=2)
    document = Report(command="audit", audits=(sized(count, name),) * audits, failures=(failed,) * failures)
    text = rendered("markdown", document)
    assert 10_000 < len(text.encode()) < MIB
    assert text.count("<details>") == text.count("</details>")
    assert re.search(r"… and [0-9]+ more", text)
