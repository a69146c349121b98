"""Formats for people and machines: golden output, and what hostile names cannot do in any of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import Report
from tests.support.rendered import BOTH, spoilt_report

GOLDEN = Path(__file__).parents[1] / "support" / "golden"


@pytest.mark.parametrize("suffix", ["md", "csv", "sarif", "xml", "gitlab", "github"])
def test_golden(suffix: str) -> None:
    """`CONVSV_GOLDEN=write pytest` accepts what there is now; look at the difference."""
    file = f"report.{suffix}"
    renderer = next(r for r in RENDERERS if f".{suffix}" in (*r.suffixes, f".{r.name}"))
    text = renderer.render(BOTH, Terminal())
    if os.environ.get("CONVSV_GOLDEN") == "write":
        (GOLDEN / file).write_text(text, encoding="utf-8")
    assert (GOLDEN / file).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda r: r.name)
@settings(max_examples=50)
@given(text=st.text())
def test_no_control_of_a_file_reaches_any_document(renderer: Renderer, text: str) -> None:
    for hostile in (text, f"\x1b[31m\x00\u202e\ud800\ufffe\r\n{text}"):
        document = renderer.render(spoilt_report(hostile), Terminal(explain=True))
        assert all(c.isprintable() for c in document.replace("\n", ""))
        document.encode("utf-8")


@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda r: r.name)
@pytest.mark.parametrize("report", [Report(command="audit", audits=()), BOTH], ids=["empty", "both"])
def test_any_number_of_audits_is_a_document(renderer: Renderer, report: Report) -> None:
    text = renderer.render(report, Terminal())
    assert text == "" or text.endswith("\n")
    assert all(failure.path in text for failure in report.failures)
