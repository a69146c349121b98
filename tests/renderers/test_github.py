"""Annotations of GitHub Actions: one command a line, whatever the names are."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from convsv_cli.names import printable
from convsv_cli.renderers.github import RENDERER
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Report
from tests.support.rendered import BOTH, REPORT, spoilt_report

COMMAND = re.compile(r"::(error|warning|notice) ([^\n]*?)::([^\n]*)")

FAILED = "budget failed: 1 exceeded, 1 undecided, 1 missing, 1 layer not audited (convsv.toml)"


def parsed(document: Report) -> list[tuple[str, dict[str, str], str]]:
    """The commands, as the runner takes them apart."""
    lines = RENDERER.render(document, Terminal()).splitlines()
    commands = []
    for line in lines:
        kind, properties, message = COMMAND.fullmatch(line).groups()
        pairs = dict(pair.split("=", 1) for pair in properties.split(","))
        commands.append((kind, {name: unescaped(value) for name, value in pairs.items()}, unescaped(message)))
    return commands


def unescaped(text: str) -> str:
    """As in `ActionCommand` of actions/runner."""
    for mark, escape in ((",", "%2C"), (":", "%3A"), ("\n", "%0A"), ("\r", "%0D"), ("%", "%25")):
        text = text.replace(escape, mark)
    return text


def test_errors_and_warnings_at_their_lines_then_a_notice() -> None:
    assert parsed(REPORT) == [
        (
            "error",
            {"file": "broken.onnx", "line": "1", "title": "convsv unreadable-model"},
            "broken.onnx: not an ONNX file",
        ),
        (
            "warning",
            {"file": "net.onnx", "line": "1", "title": "convsv unsupported-layer"},
            "net.onnx: embed: a table look-up",
        ),
        (
            "warning",
            {"file": "convsv.toml", "line": "3", "title": "convsv network-undecided"},
            "net.onnx: no lower end",
        ),
        (
            "error",
            {"file": "convsv.toml", "line": "7", "title": "convsv layer-budget"},
            "net.onnx: conv1: its norm is at least 4.801, 20.0% above its budget of 4",
        ),
        (
            "notice",
            {"file": "net.onnx", "line": "1", "title": "convsv audit"},
            f"net.onnx: 1 of 2 weight layers audited; {FAILED}",
        ),
    ]


@settings(max_examples=50)
@given(st.text())
def test_no_name_makes_a_command_of_its_own(text: str) -> None:
    for hostile in (text, f"{text}\n::error::x,title=y%0A::stop-commands::z\r\u2028##[add-mask]{text}"):
        commands = parsed(spoilt_report(hostile))
        assert len(commands) == len(parsed(BOTH))
        for _, properties, message in commands:
            assert list(properties) == ["file", "line", "title"]
            assert printable(hostile) in message
