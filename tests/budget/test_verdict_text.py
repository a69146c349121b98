"""What a budget makes of an audit, as people read it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli import report
from convsv_cli.renderers.verdict_text import measured
from convsv_cli.report import Finding, Gate, Interval, Verdict, exit_code
from tests.support.documents import AUDIT, JUDGED, render


def test_the_table_begins_with_what_the_budget_makes_of_it() -> None:
    assert render("table", JUDGED).splitlines()[2:7] == [
        "budget failed: 1 exceeded, 1 undecided, 1 missing, 1 layer not audited (convsv.toml)",
        "  exceeded   conv1: certified 4.8019 to 4.80211, 20 % above its limit 4 (convsv.toml:7)",
        "  undecided  network: certified ≤ 10.00005, limit 10: no lower end (convsv.toml:3)",
        "  missing    embed: no certified bound, limit 3: a table look-up",
        "",
    ]


@pytest.mark.parametrize(
    ("outcomes", "end"),
    [
        ((report.PASSED, report.IGNORED), "budget passed: 1 ignored, 1 passed (b.toml)"),
        ((report.PASSED, report.UNDECIDED), "budget incomplete: 1 undecided, 1 passed (b.toml)"),
        ((report.MISSING, report.EXCEEDED), "budget failed: 1 exceeded, 1 missing (b.toml)"),
        ((), "budget passed: no limits, only that all layers be audited or ignored (b.toml)"),
    ],
)
def test_the_worst_gate_decides_how_the_budget_ends(outcomes: tuple[str, ...], end: str) -> None:
    gates = tuple(Gate(node="conv1", limit=1.0, outcome=outcome) for outcome in outcomes)
    text = render("table", replace(AUDIT, verdict=Verdict(budget="b.toml", gates=gates), findings=()))
    assert text.splitlines()[2] == end


def test_layers_that_nobody_looked_at_leave_it_incomplete() -> None:
    """As the exit code says."""
    passed = Gate(node="conv1", limit=9.0, enclosure=Interval(upper=8.0), outcome=report.PASSED)
    skipped = Finding(rule="unsupported-layer", severity=report.WARNING, node="embed", message="a table")
    judged = replace(AUDIT, verdict=Verdict(budget="b.toml", gates=(passed,)), findings=(skipped,))
    assert exit_code(report.Report(command="check", audits=(judged,))) == 3
    for name in ("table", "markdown", "github"):
        assert "incomplete: 1 passed, 1 layer not audited" in render(name, judged)


def test_a_network_bound_beyond_floating_point_is_one() -> None:
    gate = Gate(node="", limit=1.0, enclosure=Interval(), outcome=report.EXCEEDED)
    assert measured(gate) == "a bound beyond 1e308"


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_measured_ends_are_rounded_outwards(value: float) -> None:
    gate = Gate(node="", limit=1.0, enclosure=Interval(lower=value, upper=value), outcome=report.PASSED)
    _, lower, _, upper = measured(gate).split()
    assert value * (1 - 2e-7) <= float(lower) <= value <= float(upper) <= value * (1 + 2e-7)
