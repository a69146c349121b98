"""What `convsv check` reads and writes: what a newcomer may get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.budget_models import exit_code, scaled


@pytest.fixture
def model(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return scaled(tmp_path, 2)


def test_the_budget_and_the_baseline_are_never_overwritten(model, monkeypatch, capsys) -> None:
    config = Path("convsv.toml")
    config.write_text("max-layer = 3")
    assert exit_code(monkeypatch, "audit", model, "-o", "main.json") == 0
    before = Path("main.json").read_text()
    asked = ("check", model, "--baseline", "main.json", "--format", "json", "-o")
    for output in (config, "main.json"):
        assert exit_code(monkeypatch, *asked, output) == 2
        assert f"{output}: the output would replace an input" in capsys.readouterr().err
    assert config.read_text() == "max-layer = 3"
    assert Path("main.json").read_text() == before


def test_a_dash_is_stdout(model, monkeypatch, capsys) -> None:
    assert exit_code(monkeypatch, "check", "--init", model, "-o", "-") == 0
    assert "max-layer" in capsys.readouterr().out
    assert exit_code(monkeypatch, "diff", model, model, "-o", "-", "-o", "d.json") == 0
    assert "network" in capsys.readouterr().out
    assert not Path("-").exists()


@pytest.mark.parametrize("text", ["", 'models = ["model.onnx"]\nexact = false'])
def test_a_budget_that_limits_nothing_is_no_gate(text: str, model, monkeypatch, capsys) -> None:
    Path("convsv.toml").write_text(text)
    assert exit_code(monkeypatch, "check", model) == 2
    assert "convsv.toml: no limits (add max-lipschitz" in capsys.readouterr().err
    assert exit_code(monkeypatch, "audit", model, "-o", "main.json") == 0
    assert exit_code(monkeypatch, "check", model, "--baseline", "main.json") == 0


def test_errors_of_options_point_to_the_help_of_the_command(monkeypatch, capsys) -> None:
    assert exit_code(monkeypatch, "check", "--exit-zro") == 2
    assert "(see convsv check --help)" in capsys.readouterr().err
    assert exit_code(monkeypatch, "chekc") == 2
    assert "(see convsv --help)" in capsys.readouterr().err


def test_of_many_mistakes_the_first_are_told_and_the_others_counted(model, monkeypatch, capsys) -> None:
    globs = "".join(f'[[layer]]\nmatch = "none{index}"\nmax = 1\n' for index in range(30))
    Path("convsv.toml").write_text(globs)
    assert exit_code(monkeypatch, "check", model, "-o", "check.txt") == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert ["none9" in line for line in lines] == [False] * 9 + [True]
    assert last == "convsv: and 20 more like these, which the report names"
    assert "none29" in Path("check.txt").read_text()


def test_of_many_models_that_are_missing_the_first_are_told(model, monkeypatch, capsys) -> None:
    Path("convsv.toml").write_text("max-layer = 3")
    missing = [f"{index}.onnx" for index in range(12)]
    assert exit_code(monkeypatch, "check", *missing, model, "--format", "json") == 2
    found = capsys.readouterr()
    *lines, last = found.err.splitlines()
    assert len(lines) == 10
    assert last == "convsv: and 2 more like these, which the report names"
    assert all(name in found.out for name in missing)


def test_what_brings_a_model_under_its_limits_is_one_command(model, monkeypatch, capsys) -> None:
    for text, options in (
        ("max-layer = 1.5\nmax-lipschitz = 1.25", "--max-layer 1.5 --max-lipschitz 1.25"),
        ("max-lipschitz = 1.25", "--max-lipschitz 1.25"),
    ):
        Path("convsv.toml").write_text(text)
        assert exit_code(monkeypatch, "check", model) == 1
        command, _, why = capsys.readouterr().err.strip().rpartition(" writes a copy that keeps the limit")
        assert (f"{options} -o" in command, why) == (True, "s" if " --" in options else "")
        Path("convsv.toml").write_text(f'models = ["*clipped*"]\n{text}')
        assert exit_code(monkeypatch, *command.removeprefix("convsv: convsv ").split(), "--force") == 0
        assert exit_code(monkeypatch, "check") == 0
