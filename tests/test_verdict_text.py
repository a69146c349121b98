"""What a budget makes of an audit, as people read it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli import report
from convsv_cli.renderers.verdict_text import measured
from convsv_cli.report import Gate, Interval, Verdict
from tests.test_renderers import AUDIT, JUDGED, render


def test_the_table_begins_with_what_the_budget_makes_of_it() -> None:
    assert render("table", JUDGED).splitlines()[2:7] == [
        "budget failed: 1 exceeded, 1 undecided, 1 missing (convsv.toml)",
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
        ((), "budget passed: no limit applies (b.toml)"),
    ],
)
def test_the_worst_gate_decides_how_the_budget_ends(outcomes: tuple[str, ...], end: str) -> None:
    gates = tuple(Gate(node="conv1", limit=1.0, outcome=outcome) for outcome in outcomes)
    text = render("table", replace(AUDIT, verdict=Verdict(budget="b.toml", gates=gates)))
    assert text.splitlines()[2] == end


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_measured_ends_are_rounded_outwards(value: float) -> None:
    gate = Gate(node="", limit=1.0, enclosure=Interval(lower=value, upper=value), outcome=report.PASSED)
    _, lower, _, upper = measured(gate).split()
    assert value * (1 - 2e-7) <= float(lower) <= value <= float(upper) <= value * (1 + 2e-7)
