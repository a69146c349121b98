"""A budget and an audit become gates and findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from convsv_cli import report
from convsv_cli.budget import Ignore, Judge, LayerBudget, configuration, judged, outcome, with_unused
from convsv_cli.budget.configuration import Globs
from convsv_cli.budget.judgement import beyond
from convsv_cli.report import (
    EXCEEDED,
    IGNORED,
    MISSING,
    PASSED,
    UNDECIDED,
    Audit,
    Interval,
    Report,
)
from tests.support.documents import AUDIT, SKIPPED, UNBOUNDED
from tests.support.gates import PLACE, TODAY, audit, judge, limit, row

LIMITS = st.floats(min_value=1e-3, max_value=1e3)


def outcomes(judge: Judge, audit: Audit) -> dict[str, str]:
    return {gate.node: gate.outcome for gate in judge.gates(audit)}


@given(LIMITS, LIMITS, LIMITS)
def test_no_gate_passes_on_a_lower_end_or_fails_on_an_upper_one(a: float, b: float, value: float) -> None:
    """For every norm that the enclosure allows, the outcome is true of it."""
    lower, upper = sorted((a, b))
    found = outcome(Interval(lower=lower, upper=upper), value)
    for truth in (lower, (lower + upper) / 2, upper):
        if lower <= truth <= upper:
            assert found != PASSED or truth <= value
            assert found != EXCEEDED or truth > value
    assert (found == UNDECIDED) == (lower <= value < upper)


def test_the_ends_of_what_is_undecided_can_be_told_apart() -> None:
    close = row("a", 3 - 1e-12, 3 + 1e-12)
    (finding,) = judged(judge(layer=limit(3)), audit(close)).findings
    assert "between 2.999999999999 and 3.000000000001, and its budget is 3" in finding.message


def test_the_first_glob_that_matches_counts_and_the_others_have_the_general_limit() -> None:
    rows = [row(name, 4, 4) for name in ("a.conv", "a.fc", "b")]
    layers = (
        LayerBudget(match="a.conv", limit=limit(5)),
        LayerBudget(match="a.*", limit=limit(3)),
        LayerBudget(match="a.conv", limit=limit(1)),
    )
    found = outcomes(judge(layer=limit(4), layers=layers), audit(*rows))
    assert found == {"a.conv": PASSED, "a.fc": EXCEEDED, "b": PASSED}
    assert outcomes(judge(layers=layers), audit(*rows)) == {"a.conv": PASSED, "a.fc": EXCEEDED}


@pytest.mark.parametrize("match", ["conv1", "conv1.weight", "other.*", "*"])
def test_globs_know_all_names_of_a_layer(match: str) -> None:
    tied = row("conv1", 4, 4, aliases=("other.weight",))
    assert outcomes(judge(layers=(LayerBudget(match=match, limit=limit(1)),)), audit(tied)) == {
        "conv1": EXCEEDED
    }


def test_the_network_comes_first_and_has_no_lower_end() -> None:
    gates = judge(network=limit(10), layer=limit(9)).gates(AUDIT)
    assert [(gate.node, gate.outcome) for gate in gates] == [
        ("", EXCEEDED),
        ("conv1", PASSED),
        ("embed", MISSING),
    ]
    assert gates[0].enclosure == Interval(upper=10.00005)
    assert gates[2].reason == "a table look-up"
    assert outcomes(judge(network=limit(10.00005)), AUDIT) == {"": PASSED}


def test_a_network_without_a_bound_is_missing_and_says_why() -> None:
    (gate,) = judge(network=limit(10)).gates(replace(AUDIT, bound=UNBOUNDED))
    assert gate.outcome == MISSING
    assert all(fragment in gate.reason for fragment in ("gate0", "5 more", "a product"))


@pytest.mark.parametrize(
    ("expires", "expected"), [(None, IGNORED), (TODAY, IGNORED), (date(2026, 6, 30), EXCEEDED)]
)
def test_an_ignore_holds_to_the_end_of_its_day(expires: date | None, expected: str) -> None:
    ignore = Ignore(match="conv*", reason="known", expires=expires, place=PLACE)
    found = judged(judge(layer=limit(3), ignores=(ignore,)), audit(row("conv1", 4, 4)))
    assert [gate.outcome for gate in found.verdict.gates] == [expected]
    rules = {finding.rule: finding for finding in found.findings}
    assert rules.keys() == ({"ignored"} if expected == IGNORED else {"layer-budget", "expired-ignore"})
    assert {finding.node for finding in rules.values()} == {"conv1"}
    assert "known" in (rules.get("ignored") or rules["expired-ignore"]).message
    assert all(finding.place == PLACE for finding in rules.values())


def test_what_is_unsupported_can_be_ignored_and_what_is_invalid_cannot() -> None:
    everything = Ignore(match="*", reason="known", expires=None, place=PLACE)
    kept = judged(judge(layer=limit(3), ignores=(everything,)), AUDIT)
    assert "unsupported-layer" in {f.rule for f in AUDIT.findings}
    assert "unsupported-layer" not in {f.rule for f in kept.findings}
    invalid = replace(SKIPPED, status=report.INVALID, reason="NaN")
    assert outcomes(judge(layer=limit(3), ignores=(everything,)), audit(invalid)) == {"embed": MISSING}


def test_findings_say_which_by_how_much_and_where() -> None:
    found = judged(
        judge(network=limit(5, 3), layer=limit(4.5, 8)), audit(row("conv1", 4.9, 5), row("b", 1, 1))
    )
    network, layer = found.findings
    assert (network.rule, network.node, network.measured, network.limit) == (
        "network-budget",
        "",
        10.00005,
        5,
    )
    assert "2 times its budget of 5" in network.message
    assert "may amplify less" in network.message
    assert (layer.rule, layer.node, layer.measured, layer.limit) == ("layer-budget", "conv1", 5, 4.5)
    assert "at least 4.900, 8.89 % above its budget of 4.5" in layer.message
    assert (network.place.line, layer.place.line) == (3, 8)
    assert {f.severity for f in found.findings} == {report.ERROR}


@given(LIMITS, st.integers(1, 10**16))
def test_a_figure_that_exceeds_is_never_shown_as_if_it_did_not(value: float, ulps: int) -> None:
    measured = value * (1 + ulps * 2.0**-52)
    assume(measured > value)
    assert Decimal(value) < Decimal(beyond(measured, value)) <= Decimal(measured) * (1 + Decimal("1e-16"))


def test_the_bound_of_a_network_is_told_rounded_up() -> None:
    bound = replace(AUDIT.bound, lipschitz=4188992481.8583035)
    judge_ = judge(network=limit(1e9))
    (finding,) = (f for f in judged(judge_, audit(bound=bound)).findings if f.rule == "network-budget")
    assert "the certified Lipschitz bound is 4.189e9, 4.189 times" in finding.message


def test_budgets_that_no_layer_is_left_for_are_told_once() -> None:
    layers = tuple(LayerBudget(match=m, limit=limit(9, n)) for n, m in enumerate(["a*", "ab", "z", "b"]))
    ignores = (Ignore(match="nobody", reason="x", expires=None, place=PLACE),)
    judge_ = judge(layers=layers, ignores=ignores)
    audits = (audit(row("ab", 1, 1)), audit(row("b", 1, 1)))
    first, last = with_unused(judge_.budget, Report(command="check", audits=audits)).audits
    assert not first.findings
    assert [(f.rule, f.place.line) for f in last.findings] == [
        ("unused-budget", 1),
        ("unused-budget", 2),
        ("unused-budget", 7),
    ]
    failed = report.Failure(path="x", message="x", exit_code=2)
    incomplete = Report(command="check", audits=audits, failures=(failed,))
    assert with_unused(judge_.budget, incomplete) == incomplete


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often globs are translated and matched."""
    counts = {"compiled": 0, "matched": 0}
    honest = configuration.re.compile

    class Counting:
        def __init__(self, pattern: str) -> None:
            counts["compiled"] += 1
            self._match = honest(pattern).match

        def match(self, name: str) -> object:
            counts["matched"] += 1
            return self._match(name)

    with monkeypatch.context() as patched:
        patched.setattr(configuration.re, "compile", Counting)
        yield counts


def test_many_globs_are_compiled_once_and_matched_once_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """500 budgets and 500 ignores over 500 layers, however often they are asked."""
    names = [f"layer{i}.conv" for i in range(500)]
    layers = tuple(LayerBudget(match=f"*{i}.nothing", limit=limit(1)) for i in range(500))
    ignores = tuple(
        Ignore(match=f"*{i}.no", reason="x", expires=date(2020, 1, 1), place=PLACE) for i in range(500)
    )
    with counting(monkeypatch) as counts:
        judge_ = judge(layer=limit(9), layers=layers, ignores=ignores)
        found = judged(judge_, audit(*(row(name, 1, 1) for name in names)))
        with_unused(judge_.budget, Report(command="check", audits=(found,)))
    assert len(found.verdict.gates) == 500
    assert counts["compiled"] == 1000
    assert counts["matched"] == 1000 * 500 * 2, "the name and the weight's, by each glob, once"


@given(
    st.lists(st.text("ab*?[]!", max_size=5), max_size=5), st.lists(st.text("ab[]", max_size=4), min_size=1)
)
def test_globs_are_those_of_fnmatch_and_brackets_those_of_names(
    patterns: list[str], names: list[str]
) -> None:
    from fnmatch import fnmatchcase

    def meant(name: str, pattern: str) -> bool:
        literal = "".join("[[]" if character == "[" else character for character in pattern)
        return fnmatchcase(name, pattern) or fnmatchcase(name, literal)

    expected = [i for i, p in enumerate(patterns) if any(meant(name, p) for name in names)]
    found = Globs(patterns)
    assert list(found.all(tuple(names))) == expected
    assert found.first(tuple(names)) == next(iter(expected), None)
