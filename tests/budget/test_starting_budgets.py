"""`convsv check --init`: what it writes is passed by the model that it was written for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsv_cli.budget import Judge, judged, read_configuration, starting_budget, toml
from convsv_cli.budget.starting import quoted
from convsv_cli.report import EXCEEDED, INVALID, MISSING, PASSED, UNKNOWN, NetworkBound
from tests.support.budget_models import exit_code, look_up, scaled, unsupported
from tests.support.documents import AUDIT, SKIPPED
from tests.support.gates import TODAY, audit, row

NAMES = st.text(st.characters(exclude_categories=()), min_size=1, max_size=12)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_quoted_as_toml_reads_it(text: str) -> None:
    assert toml.loads(f"a = {quoted(text)}\nb = 1") == {"a": text, "b": 1}


@given(NAMES)
def test_also_text_that_toml_cannot_hold_has_a_line(text: str) -> None:
    assert len(toml.loads(f"a = {quoted(text)}")["a"]) == len(text)


def uncommented(text: str) -> str:
    """The budget with its examples in force."""
    keys = ("[[", "match", "max =", "reason", "expires")
    lines = (line.removeprefix("# ") for line in text.splitlines())
    return "\n".join(
        plain if plain.startswith(keys) else line
        for line, plain in zip(text.splitlines(), lines, strict=True)
    )


LAYERS = st.lists(
    st.tuples(NAMES, st.floats(1e-300, 1e300)), min_size=1, max_size=5, unique_by=lambda p: p[0]
)


@given(layers=LAYERS)
def test_the_audit_that_it_is_from_passes_with_and_without_the_examples(
    layers: list[tuple[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = audit(*(row(name, norm, norm) for name, norm in layers))
    path = tmp_path_factory.mktemp("begun") / "convsv.toml"
    for text in (starting_budget(found, "net.onnx"), uncommented(starting_budget(found, "net.onnx"))):
        path.write_text(text, encoding="utf-8")
        configuration = read_configuration(path)
        assert configuration.models == (path.parent / "net.onnx",)
        gates = judged(Judge(budget=configuration.budget, today=TODAY), found).verdict.gates
        assert {gate.node for gate in gates} == {"", *(name for name, _ in layers)}
        assert {gate.outcome for gate in gates} == {PASSED}
        doubled = audit(*(row(name, norm * 1.2, norm * 1.2) for name, norm in layers))
        worse = judged(Judge(budget=configuration.budget, today=TODAY), doubled).verdict.gates
        assert EXCEEDED in {gate.outcome for gate in worse}, "and no budget is a mile high"


def test_what_was_not_audited_is_named_for_users_to_excuse(tmp_path: Path) -> None:
    path = tmp_path / "convsv.toml"
    found = replace(audit(row("a", 1, 1), SKIPPED), bound=NetworkBound(status=UNKNOWN, reason="no graph"))
    text = starting_budget(found, "net.onnx")
    path.write_text(text)
    budget = read_configuration(path).budget
    assert (budget.network, budget.ignores) == (None, ())
    outcomes = {g.node: g.outcome for g in judged(Judge(budget=budget, today=TODAY), found).verdict.gates}
    assert outcomes == {"a": PASSED, "embed": MISSING}
    path.write_text(uncommented(text))
    (ignore,) = read_configuration(path).budget.ignores
    assert (ignore.match, ignore.reason) == ("embed", SKIPPED.reason)


def test_settings_are_kept(tmp_path: Path) -> None:
    settings = replace(
        AUDIT.settings,
        input_size=(32, 16),
        input_range=(0.0, 1.0),
        input_shapes=(("a b", (1, 2)),),
        network_effort="thorough",
    )
    path = tmp_path / "convsv.toml"
    path.write_text(starting_budget(replace(AUDIT, settings=settings), "net.onnx"))
    found = read_configuration(path)
    assert (found.input_size, found.input_range, found.input_shapes) == (
        settings.input_size,
        settings.input_range,
        settings.input_shapes,
    )
    assert found.network_effort == settings.network_effort, "at another effort, the bound may be larger"


def test_no_norm_at_all() -> None:
    zero = audit(row("a", 0, 0), row("b", 0, float("inf")))
    assert toml.loads(starting_budget(zero, "net.onnx")).keys() == {"models", "input-size", "max-lipschitz"}


def test_on_the_command_line(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "ci").mkdir()
    model, output = scaled(tmp_path / "nets", 2, 3), tmp_path / "ci" / "convsv.toml"
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "check", "--init", model, "-o", output) == 0
    assert capsys.readouterr().out == ""
    assert exit_code(monkeypatch, "check", "--config", output) == 0
    begun = output.read_text()
    assert 'models = ["../nets/model.onnx"]' in begun
    capsys.readouterr()

    assert exit_code(monkeypatch, "check", "--init", model, "-o", output) == 2
    assert "--force" in capsys.readouterr().err
    output.write_text("mine")
    assert exit_code(monkeypatch, "check", "--init", model, "-o", output) == 2
    assert output.read_text() == "mine"
    assert exit_code(monkeypatch, "check", "--init", model, "-o", output, "--force") == 0
    assert output.read_text() == begun

    capsys.readouterr()
    assert exit_code(monkeypatch, "check", "--init", "nets/model.onnx") == 0
    (tmp_path / "convsv.toml").write_text(capsys.readouterr().out)
    assert exit_code(monkeypatch, "check") == 0
    assert exit_code(monkeypatch, "check", "--init", "nets/model.onnx") == 0, "with or without a budget"


@pytest.mark.parametrize(
    "extra",
    [["--baseline", "x.json"], ["--format", "json"], ["--changed"], ["m2"], ["-o", "a", "-o", "b"]],
)
def test_options_that_make_no_sense_beside_it(extra, tmp_path: Path, monkeypatch, capsys) -> None:
    assert exit_code(monkeypatch, "check", "--init", scaled(tmp_path, 2), *extra) == 2
    assert capsys.readouterr().err.startswith("convsv: --init")


def test_a_layer_that_is_unsupported_is_not_excused_by_itself(tmp_path: Path, monkeypatch) -> None:
    output = tmp_path / "convsv.toml"
    assert exit_code(monkeypatch, "check", "--init", unsupported(tmp_path), "-o", output) == 0
    assert exit_code(monkeypatch, "check", "--config", output) == 3
    output.write_text(uncommented(output.read_text()))
    assert exit_code(monkeypatch, "check", "--config", output) == 0


def test_a_blank_name_has_a_glob_that_a_budget_may_have(tmp_path: Path) -> None:
    (tmp_path / "convsv.toml").write_text(uncommented(starting_budget(audit(row(" ", 1, 1)), "net.onnx")))
    budget = read_configuration(tmp_path / "convsv.toml").budget
    assert [layer.match for layer in budget.layers] == ["[ ]"]


def test_a_table_needs_no_excuse_and_nobody_may_excuse_what_is_broken(tmp_path: Path, monkeypatch) -> None:
    output = tmp_path / "convsv.toml"
    assert exit_code(monkeypatch, "check", "--init", look_up(tmp_path), "-o", output) == 0
    assert "ignore" not in output.read_text()
    assert exit_code(monkeypatch, "check", "--config", output) == 0
    text = starting_budget(audit(replace(SKIPPED, status=INVALID, reason="the weight holds NaN")), "net.onnx")
    assert "[[ignore]]" not in text
    assert "embed: the weight holds NaN" in text
