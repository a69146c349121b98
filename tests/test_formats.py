"""Formats for people and machines: golden output, and what hostile names cannot do in any of them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import Report
from tests.test_renderers import AUDIT, FAILURE, JUDGED

GOLDEN = Path(__file__).parent / "golden"
REPORT = Report(command="check", audits=(JUDGED,), failures=(FAILURE,))
BOTH = Report(command="check", audits=(JUDGED, AUDIT), failures=(FAILURE,))
METHODS = AUDIT.methods
WORDS = ("status", "severity", "outcome", "kind", "padding_mode", "command")
"""Fields that convsv itself fills, from a short list of words."""


def spoiled(value: Any, text: str, field: str = "") -> Any:
    """The value with hostile text in place of every name, reason and path in it."""
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        changed = {name: spoiled(getattr(value, name), text, name) for name in names}
        return dataclasses.replace(value, **changed)
    if isinstance(value, tuple) and field in ("measurements", "product"):
        return tuple((name, spoiled(inner, text)) for name, inner in value)
    if isinstance(value, tuple):
        return tuple(spoiled(inner, text) for inner in value)
    return text if isinstance(value, str) and field not in WORDS else value


def spoilt_report(text: str) -> Report:
    report = spoiled(BOTH, text)
    methods = [dataclasses.replace(m, proves=text, column=m.column and text + m.column) for m in METHODS]
    audits = [dataclasses.replace(audit, methods=tuple(methods)) for audit in report.audits]
    return dataclasses.replace(report, audits=tuple(audits))


def rendered(name: str, report: Report = REPORT) -> str:
    return next(r for r in RENDERERS if r.name == name).render(report, Terminal())


@pytest.mark.parametrize("file", ["report.md", "report.sarif", "report.xml", "report.github"])
def test_golden(file: str) -> None:
    """`CONVSV_GOLDEN=write pytest` accepts what there is now; look at the difference."""
    suffix = Path(file).suffix
    renderer = next(r for r in RENDERERS if suffix in (*r.suffixes, f".{r.name}"))
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
    assert all(failure.path in text for failure in report.failures) or renderer.name == "csv"
