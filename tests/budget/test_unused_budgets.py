"""Parts of a budget that hold nothing are mistakes, and are told with what may have been meant."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from convsv_cli.budget import Baseline, Budget, Ignore, Judge, LayerBudget, Limit, outcome, with_unused
from convsv_cli.errors import UsageError
from convsv_cli.report import ERROR, MISSING, PASSED, WARNING, Interval, Place, Report
from tests.support.budget_models import exit_code, scaled
from tests.support.gates import AUDIT, audit, judge, limit, row

NAMES = ("layer4.0.conv1", "layer4.0.conv2", "layer4.1.conv1", "head.fc")
NETWORK = audit(*(row(name, 1, 1) for name in NAMES))
CHECKED = Report(command="check", audits=(NETWORK,))


def told(*matches: str, ignored: tuple[str, ...] = (), whole: bool = True, report: Report = CHECKED) -> list:
    layers = tuple(LayerBudget(match=match, limit=limit(9, line)) for line, match in enumerate(matches, 1))
    place = Place(path="convsv.toml", line=99)
    ignores = tuple(Ignore(match=match, reason="x", expires=None, place=place) for match in ignored)
    budget = Budget(path="convsv.toml", layers=layers, ignores=ignores)
    return list(with_unused(budget, report, whole=whole).audits[-1].findings)


@pytest.mark.parametrize(
    ("glob", "meant"),
    [
        ("lyer4.*", "layer4.*"),
        ("LAYER4.*", "layer4.*"),
        ("Head.fc", "head.fc"),
        ("layer4", "layer4.*"),
        ("conv1", "*.conv1"),
        ("fc", "*.fc"),
        ("4.1", "*4.1*"),
        ("0", "*.0.*"),
        ("*.cnv1", "*.conv1"),
        ("head.fc.wieght", "head.fc.weight"),
    ],
)
@pytest.mark.parametrize("ignored", [False, True])
def test_what_may_have_been_meant_is_told_and_holds_something(
    glob: str, meant: str, *, ignored: bool
) -> None:
    (finding,) = told(ignored=(glob,)) if ignored else told(glob)
    assert (finding.rule, finding.severity) == ("unused-budget", ERROR)
    assert finding.message == f"no layer matches the glob {glob!r} (did you mean {meant}?)"
    assert finding.place.line == (99 if ignored else 1)
    assert told(meant) == []


def test_where_nothing_is_alike_the_layers_are_named() -> None:
    (finding,) = told("zzz")
    assert (
        "its layers are called layer4.0.conv1, layer4.0.conv2, layer4.1.conv1 and 1 more" in finding.message
    )
    assert len(told(*(f"zzz{i}" for i in range(50)))) == 50


def test_what_is_matched_by_earlier_globs_alone_never_counts() -> None:
    first, second = told("layer4.*", "*.conv1", "head.*", "*")
    assert (
        first.message
        == "no layer is left for the glob '*.conv1': 'layer4.*' in line 1 takes all of its layers first"
    )
    assert (first.place.line, second.place.line) == (2, 4)
    assert told("*.conv1", "layer4.*", "*") == []
    assert told("*", ignored=("*", "*")) == []


def test_a_glob_may_be_for_another_of_the_models() -> None:
    other = audit(row("encoder", 1, 1))
    both = Report(command="check", audits=(NETWORK, other))
    assert told("encoder", "layer4.*", report=both) == []
    (finding,) = told("decoder", report=both)
    assert "did you mean encoder?" in finding.message
    (finding,) = told("encoder", whole=False)
    assert finding.severity == WARNING, "as it may be for a model that is not checked now"


def test_models_of_the_budget_that_are_not_checked_make_it_a_warning(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    scaled(tmp_path, 2, name="a.onnx")
    scaled(tmp_path, 2, 3, name="b.onnx")
    globs = '[[layer]]\nmatch = "fc0"\nmax = 9\n[[layer]]\nmatch = "fc1"\nmax = 9\n'
    Path("convsv.toml").write_text(f'models = ["a.onnx", "b.onnx"]\n{globs}')
    assert exit_code(monkeypatch, "check") == 0
    assert exit_code(monkeypatch, "check", "a.onnx") == 0
    captured = capsys.readouterr()
    assert "warning: no layer matches the glob 'fc1'" in captured.out
    assert captured.err == ""
    Path("convsv.toml").write_text(globs)
    assert exit_code(monkeypatch, "check", "a.onnx") == 2
    assert "convsv.toml:6: no layer matches the glob 'fc1' (did you mean fc0?)" in capsys.readouterr().err
    assert exit_code(monkeypatch, "check", "b.onnx", "a.onnx") == 0


def test_each_model_needs_a_gate_of_its_own(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    scaled(tmp_path, 2, name="a.onnx")
    scaled(tmp_path, 2, 3, name="b.onnx")
    Path("convsv.toml").write_text('[[layer]]\nmatch = "fc1"\nmax = 9\n')
    assert exit_code(monkeypatch, "check", "a.onnx", "b.onnx", "--format", "github") == 3
    assert "::error file=a.onnx,line=1,title=convsv nothing-gated::" in capsys.readouterr().out


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_limit_that_is_no_number_is_kept_by_nothing(value: float) -> None:
    gates = judge(network=limit(value), layer=limit(value)).gates(audit(row("a", 0, 0)))
    assert {gate.outcome for gate in gates} == {MISSING}
    assert {gate.reason for gate in gates} == {"the limit is not a finite number"}
    assert outcome(Interval(lower=1, upper=1), value) != PASSED


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_bound_that_is_no_number_keeps_no_limit(value: float) -> None:
    bad = replace(AUDIT.bound, lipschitz=value)
    (gate,) = judge(network=Limit(value=1.7e308, place=limit(1).place)).gates(audit(bound=bad))
    assert gate.outcome != PASSED


@pytest.mark.parametrize("share", [math.inf, math.nan, -0.1])
def test_a_share_that_is_no_number_is_none(share: float) -> None:
    with pytest.raises(UsageError, match="finite share"):
        Baseline(path="main.json", audit=AUDIT, increase=share)


def test_the_limit_of_a_baseline_is_rounded_down() -> None:
    for old, share in ((1 + 2**-52, 0.3), (5e-324, 0.5), (1.7e308, 0.1), (3.0, 1e300)):
        baseline = Baseline(path="main.json", audit=audit(row("a", old, old)), increase=share)
        gates = Judge(budget=Budget(path=""), today=date(2026, 1, 1), baseline=baseline).gates(
            audit(row("a", old, old))
        )
        (gate,) = (gate for gate in gates if gate.node)
        assert old <= gate.limit < math.inf
        numerator, denominator = gate.limit.as_integer_ratio()
        parts, of = share.as_integer_ratio(), old.as_integer_ratio()
        assert numerator * parts[1] * of[1] <= denominator * of[0] * (parts[0] + parts[1])
