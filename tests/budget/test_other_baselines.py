"""Baselines that do not speak of the model that is checked: nothing passes because of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convsv_cli.budget import baseline_of
from convsv_cli.comparison import changes, difference
from convsv_cli.errors import UsageError
from convsv_cli.renderers import json as json_renderer
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import UNKNOWN, Audit, NetworkBound, Report
from tests.support.budget_models import exit_code, scaled
from tests.support.documents import AUDIT
from tests.support.gates import audit, row
from tests.support.ratchets import bounded, ratchet

SMALL = (("x", (1, 3, 32, 32)),)


def shaped(audit: Audit, *shape: int | str) -> Audit:
    return replace(audit, model=replace(audit.model, input_shape=(("x", shape),)))


def test_the_bound_at_another_input_size_is_no_baseline() -> None:
    """Where a network averages over its input, its bound is smaller for larger inputs."""
    old = shaped(bounded(2, row("a", 1, 1)), 1, 3, 32, 32)
    with pytest.raises(UsageError, match=r"another input size.*--input-shape \w+:1x3x32x32"):
        ratchet(old).gates(shaped(old, 1, 3, 64, 64))
    renamed = replace(old, model=replace(old.model, input_shape=(("other", (1, 3, 32, 32)),)))
    assert [gate.node for gate in ratchet(old).gates(renamed)] == ["", "a"]
    assert [gate.node for gate in ratchet(old).gates(shaped(old, "N", 3, 32, 32))] == ["", "a"]


def test_norms_of_layers_are_for_all_input_sizes() -> None:
    unknown = NetworkBound(status=UNKNOWN, reason="no graph")
    old = shaped(audit(row("a", 1, 1), bound=unknown), 1, 3, 32, 32)
    assert [gate.node for gate in ratchet(old).gates(shaped(old, 1, 3, 64, 64))] == ["a"]


def test_some_layers_are_no_baseline() -> None:
    some = replace(AUDIT, settings=replace(AUDIT.settings, layers=("a*",)))
    with pytest.raises(UsageError, match="--layers"):
        ratchet(some).gates(AUDIT)


def test_some_layers_pass_no_baseline(tmp_path: Path, monkeypatch, capsys) -> None:
    """Of weights without a graph, nothing else tells that the others were not looked at."""
    monkeypatch.chdir(tmp_path)
    for name, factor in (("old", 1), ("new", 100)):
        torch.save({"a.weight": torch.eye(3), "b.weight": torch.eye(4) * factor}, f"{name}.pt")
    assert exit_code(monkeypatch, "audit", "old.pt", "-o", "old.json") == 0
    assert exit_code(monkeypatch, "audit", "new.pt", "--layers", "a", "-o", "new.json") == 0
    assert exit_code(monkeypatch, "diff", "old.json", "new.json", "--max-increase", "0") == 2
    assert "new.pt: the report was made with --layers" in capsys.readouterr().err
    assert exit_code(monkeypatch, "diff", "old.json", "new.json") == 0


def test_strides_that_only_one_audit_ignores_prove_no_change() -> None:
    old = audit(
        row("a", 3, 3, stride=(1, 1)), row("b", 1, 1), settings=replace(AUDIT.settings, as_stride_1=True)
    )
    new = audit(row("a", 2, 2, stride=(2, 2)), row("b", 2, 2))
    assert [change.kind for change in changes(old, new)[1:]] == ["not comparable", "larger"]
    assert [change.kind for change in changes(new, old)[1:]] == ["not comparable", "smaller"]
    assert changes(replace(old, settings=AUDIT.settings), new)[1].kind == "smaller"


def test_another_network_is_no_baseline() -> None:
    old, new = audit(row("a", 1, 1), row("b", 1, 1)), audit(row("c", 1, 1, kernel_shape=(5, 3)))
    with pytest.raises(UsageError, match="no layer"):
        ratchet(old).gates(new)


def test_bounds_beyond_floating_point_are_not_the_same() -> None:
    old = bounded(math.inf, row("a", math.inf, math.inf))
    network, layer = changes(old, old)
    assert (network.kind, layer.kind) == ("too close to tell", "too close to tell")
    assert json.loads(json_renderer.render(difference(old, old), Terminal()))["changes"][1]["old"] == {
        "lower": None,
        "upper": None,
    }


def test_what_another_model_has_by_its_path_is_not_taken_for_the_name() -> None:
    one = replace(AUDIT, model=replace(AUDIT.model, path="a/m.onnx"))
    saved = Report(command="audit", audits=(one,))
    assert baseline_of("b/m.onnx", saved, "x", 0, others=("a/m.onnx",)) is None
    assert baseline_of("a/m.onnx", saved, "x", 0, others=("b/m.onnx",)).audit is one


def test_two_models_of_one_name(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, factor in (("a", 3), ("b", 2)):
        (tmp_path / folder).mkdir()
        scaled(tmp_path / folder, factor)
    assert exit_code(monkeypatch, "audit", "a/model.onnx", "-o", "main.json") == 0
    assert exit_code(monkeypatch, "check", "a/model.onnx", "b/model.onnx", "--baseline", "main.json") == 2
    assert "b/model.onnx: the baseline main.json has no audit of this model" in capsys.readouterr().err


@pytest.mark.parametrize("increase", ["5", "1", "100", "1.5"])
def test_no_share_that_was_meant_as_percent(increase: str, tmp_path: Path, monkeypatch, capsys) -> None:
    model = scaled(tmp_path, 2)
    assert exit_code(monkeypatch, "diff", model, model, "--max-increase", increase) == 2
    assert f"{increase}%" in capsys.readouterr().err
    assert exit_code(monkeypatch, "diff", model, model, "--max-increase", f"{increase}%") == 0
