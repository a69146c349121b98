"""A ratchet on certified upper ends, and two audits beside each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from convsv_cli import api
from convsv_cli.auditing.checking import check_file
from convsv_cli.budget import baseline_of, judged
from convsv_cli.comparison import changes, pairs
from convsv_cli.errors import UsageError
from convsv_cli.report import EXCEEDED, MISSING, PASSED, UNKNOWN, Interval, NetworkBound, Report, Settings
from tests.support.budget_models import convolution, exit_code, scaled
from tests.support.documents import AUDIT, BOUND, SKIPPED
from tests.support.gates import audit, row
from tests.support.ratchets import bounded, outcomes, ratchet


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 1))
def test_a_norm_may_grow_by_so_much_and_no_more(old: float, new: float, increase: float) -> None:
    before, after = bounded(old, row("a", old, old)), bounded(new, row("a", new, new))
    expected = PASSED if new <= old * (1 + increase) else EXCEEDED
    assert outcomes(before, after, increase) == {"": expected, "a": expected}


def test_added_layers_have_no_limit_and_all_that_is_not_the_same_layer_is_noted() -> None:
    same = {"weight_sha256": "1" * 64}
    old = bounded(1, row("a", 1, 1), row("old.name", 1, 1, **same), row("gone", 1, 1, kernel_shape=(5, 3)))
    new = bounded(1, row("a", 1, 1), row("new.name", 9, 9, **same), row("fresh", 9, 9))
    assert outcomes(old, new) == {"": PASSED, "a": PASSED, "new.name": EXCEEDED}
    assert {(f.node, f.rule) for f in judged(ratchet(old), new).findings} == {
        ("new.name", "layer-baseline"),
        ("new.name", "renamed-layer"),
        ("fresh", "added-layer"),
        ("gone", "removed-layer"),
    }


def test_names_come_before_weights_and_weights_of_several_layers_tell_nothing() -> None:
    twin = {"weight_sha256": "1" * 64}
    old = audit(row("a", 1, 1, **twin), row("b", 1, 1, weight_sha256="2" * 64))
    swapped = audit(row("a", 1, 1, weight_sha256="2" * 64), row("b", 1, 1, **twin))
    assert [(p.old.name, p.new.name, p.same_map) for p in pairs(old, swapped)] == [
        ("a", "a", False),
        ("b", "b", False),
    ]
    doubled = audit(row("c", 1, 1, **twin), row("d", 1, 1, **twin))
    assert [(p.old.name, p.new.name, p.by) for p in pairs(old, doubled)] == [
        ("a", "c", "shape and order"),
        ("b", "d", "shape and order"),
    ]


def test_a_baseline_silences_no_error() -> None:
    """What was proven before and is not now; also where the baseline itself had nothing."""
    lost = replace(SKIPPED, name="a")
    unbounded = NetworkBound(status=UNKNOWN, reason="no graph")
    assert outcomes(bounded(1, row("a", 1, 1)), audit(lost, bound=unbounded)) == {"": MISSING, "a": MISSING}
    before = audit(lost, bound=unbounded)
    assert outcomes(before, bounded(9, row("a", 9, 9))) == {}
    assert {f.rule for f in judged(ratchet(AUDIT), AUDIT).findings} >= {"unsupported-layer"}


def test_the_same_map_keeps_what_was_proven_of_it() -> None:
    """A baseline that was measured more closely than the audit at hand."""
    same = {"weight_sha256": "1" * 64}
    old, new = audit(row("a", 3, 3.001, **same)), audit(row("a", 2.9, 3.1, **same))
    (_, gate) = ratchet(old).gates(new)
    assert (gate.outcome, gate.enclosure) == (PASSED, Interval(lower=2.9, upper=3.001))
    strided = audit(row("a", 2.9, 3.1, stride=(1, 1), **same))
    assert outcomes(old, strided)["a"] == "undecided"


def test_what_holds_for_other_inputs_is_no_baseline() -> None:
    boxed = replace(AUDIT, settings=replace(AUDIT.settings, input_range=(0.0, 1.0)))
    with pytest.raises(UsageError, match="input range"):
        ratchet(boxed).gates(AUDIT)
    dense = replace(AUDIT, settings=replace(AUDIT.settings, as_stride_1=True))
    with pytest.raises(UsageError, match="as-stride-1"):
        ratchet(dense).gates(AUDIT)


def test_the_audit_of_the_model_is_found_by_path_then_by_name_then_alone() -> None:
    one, two = (replace(AUDIT, model=replace(AUDIT.model, path=path)) for path in ("a/m.onnx", "b/m.onnx"))
    saved = Report(command="audit", audits=(one, two))
    assert baseline_of("a/m.onnx", saved, "x", 0).audit is one
    assert baseline_of("c/m.onnx", saved, "x", 0) is None
    only = Report(command="audit", audits=(one,))
    assert baseline_of("c/m.onnx", only, "x", 0, others=("d/n.onnx",)).audit is one
    assert baseline_of("c/n.onnx", only, "x", 0).audit is one
    assert baseline_of("c/n.onnx", only, "x", 0, others=("d/n.onnx",)) is None


@pytest.fixture
def grown(tmp_path: Path) -> tuple[Path, Path]:
    """A convolution, and the same with a weight that is 3 % larger."""
    old, new = convolution(tmp_path), tmp_path / "new.onnx"
    model = onnx.load(old)
    (tensor,) = model.graph.initializer
    larger = numpy_helper.to_array(tensor) * np.float32(1.03)
    tensor.CopyFrom(numpy_helper.from_array(larger, tensor.name))
    onnx.save(model, new)
    return old, new


@pytest.mark.parametrize(("increase", "code"), [("0", 1), ("2.9%", 1), ("3.1%", 0), ("0.031", 0)])
def test_the_ratchet_on_the_command_line(increase, code, grown, monkeypatch, capsys) -> None:
    old, new = grown
    saved = old.with_suffix(".json")
    assert exit_code(monkeypatch, "audit", old, "-o", saved) == 0
    monkeypatch.chdir(old.parent)
    arguments = ("--baseline", saved, "--max-increase", increase)
    assert exit_code(monkeypatch, "check", new, *arguments) == code
    assert exit_code(monkeypatch, "check", old, *arguments) == 0
    assert exit_code(monkeypatch, "diff", old, new) == 0
    for before in (old, saved):
        assert exit_code(monkeypatch, "diff", before, new, "--max-increase", increase) == code
    assert "conv" in capsys.readouterr().out


def test_a_baseline_of_a_wide_interval_is_no_excuse_and_no_trap(grown) -> None:
    """The model itself, audited more coarsely than its baseline, passes; refined, not waved through."""
    old, _ = grown
    fine = api.audit(old, tolerance=1e-7)
    checked = check_file(old, ratchet(fine), Settings(tolerance=0.1))
    assert {gate.outcome for gate in checked.verdict.gates if gate.node} == {PASSED}


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["check", "m", "--max-increase", "5%"], "--baseline"),
        (["check", "m", "--baseline", "absent.json"], "absent.json"),
        (["check", "m", "--max-increase", "much"], "5%"),
        (["check", "m", "--max-increase", "-5%"], "5%"),
        (["diff", "absent.json", "m"], "absent.json"),
        (["diff", "m", "m", "-o", "x.yaml"], ".json"),
    ],
)
def test_usage_errors_are_one_line(arguments, fragment, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "convsv.toml").write_text("max-layer = 1")
    assert exit_code(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert fragment in captured.err


def test_formats_of_a_difference_agree(grown, monkeypatch, capsys) -> None:
    old, new = grown
    found = api.audit(old), api.audit(new)
    outputs = {suffix: old.parent / f"d.{suffix}" for suffix in ("txt", "json", "md")}
    written = [argument for path in outputs.values() for argument in ("-o", path)]
    assert exit_code(monkeypatch, "diff", old, new, *written, "--max-increase", "1%") == 1
    assert capsys.readouterr().out == ""
    document = json.loads(outputs["json"].read_text())
    network, layer = document["changes"]
    assert (network["layer"], layer["layer"], layer["change"]) == (None, "conv", "larger")
    assert layer["ratio"] == pytest.approx(1.03, rel=1e-3)
    expected = [change.new.upper for change in changes(*found)]
    assert [layer["new"]["upper"] for layer in document["changes"]] == pytest.approx(expected, rel=1e-3)
    for suffix in ("txt", "md"):
        text = outputs[suffix].read_text()
        assert "1.03" in text
        assert "larger" in text
        assert "failed" in text
        assert all(line.count("|") == 6 for line in text.splitlines() if line.startswith("|"))


def test_changes_are_proven_or_said_to_be_open() -> None:
    kinds = {
        "up": (row("up", 1, 2), row("up", 2.1, 3)),
        "down": (row("down", 2, 3), row("down", 1, 1.9)),
        "open": (row("open", 1, 2), row("open", 1.5, 3)),
        "lost": (row("lost", 1, 2), replace(SKIPPED, name="lost")),
    }
    old, new = (audit(*(pair[side] for pair in kinds.values()), bound=BOUND) for side in (0, 1))
    found = {change.name: change.kind for change in changes(old, new)}
    assert found == {
        "": "same",
        "up": "larger",
        "down": "smaller",
        "open": "too close to tell",
        "lost": "not audited",
    }


def test_a_model_beside_stdin(grown, monkeypatch, capsys) -> None:
    old, new = grown
    assert exit_code(monkeypatch, "audit", old, "--format", "json") == 0
    import io
    import sys

    data = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data.encode())))
    assert exit_code(monkeypatch, "diff", "-", new) == 0
    assert "1.0300" in capsys.readouterr().out


def test_scaled_networks_grow_as_their_layers_do(tmp_path: Path) -> None:
    small, large = scaled(tmp_path, 2, 3, name="a.onnx"), scaled(tmp_path, 2, 6, name="b.onnx")
    found = {change.name: change.ratio for change in changes(api.audit(small), api.audit(large))}
    assert found == pytest.approx({"": 2, "fc0": 1, "fc1": 2})
