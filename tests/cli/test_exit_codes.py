"""The exit code says what was found, and the format has no say in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from convsv_cli.renderers import RENDERERS
from convsv_cli.report.verdict import PRECEDENCE, worst
from tests.support.budget_models import exit_code, look_up, outside, scaled, unsupported

EXPIRED = '[[ignore]]\nmatch = "fc1"\nreason = "once"\nexpires = 2020-02-29\n'
Maker = Callable[[Path], Path]


def garbage(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(b"no model at all")
    return path


def absent(folder: Path) -> Path:
    return folder / "absent.onnx"


def two(folder: Path) -> Path:
    return scaled(folder, 2, 3)


def gated(folder: Path) -> Path:
    return scaled(folder, 2, 3, gate=True)


def nan(folder: Path) -> Path:
    return scaled(folder, math.nan)


CASES: dict[str, tuple[Maker, str, int]] = {
    "pass": (two, "max-layer = 3.1\nmax-lipschitz = 6.1", 0),
    "layer exceeded": (two, "max-layer = 2.9", 1),
    "network exceeded": (two, "max-lipschitz = 5.9", 1),
    "ignored": (two, f"max-layer = 2.9\n{EXPIRED.replace('2020-02-29', '2999-01-01')}", 0),
    "expired ignore": (two, f"max-layer = 2.9\n{EXPIRED}", 1),
    "expired ignore of a layer that passes": (two, f"max-layer = 3.1\n{EXPIRED}", 0),
    "unsupported layer": (unsupported, "max-layer = 2.1", 3),
    "unsupported layer without a limit": (unsupported, '[[layer]]\nmatch = "fc"\nmax = 2.1', 3),
    "unsupported layer and exceeded": (unsupported, "max-layer = 1.9", 1),
    "unsupported layer, ignored": (
        unsupported,
        'max-layer = 2.1\n[[ignore]]\nmatch = "odd"\nreason = "mine"',
        0,
    ),
    "table": (look_up, "max-layer = 2.1", 0),
    "table and exceeded": (look_up, "max-layer = 1.9", 1),
    "table, ignored as older versions advised": (
        look_up,
        'max-layer = 2.1\n[[ignore]]\nmatch = "embed"\nreason = "a table"',
        0,
    ),
    "unbounded network": (gated, "max-lipschitz = 1e9", 3),
    "unbounded network without a limit": (gated, "max-layer = 3.1", 0),
    "unbounded network and exceeded": (gated, "max-lipschitz = 1e9\nmax-layer = 2.9", 1),
    "undecided": (two, "max-layer = 3.0", 3),
    "invalid layer, which nobody can ignore": (nan, '[[ignore]]\nmatch = "*"\nreason = "fine"', 3),
    "unreadable": (garbage, "max-layer = 3.1", 2),
    "absent": (absent, "max-layer = 3.1", 2),
    "refused": (outside, "max-layer = 3.1", 4),
    "no such key": (two, "max-laier = 3.1", 2),
}


@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda r: r.name)
@pytest.mark.parametrize("case", CASES)
def test_the_code_is_the_same_in_every_format(case: str, renderer, tmp_path: Path, monkeypatch) -> None:
    maker, budget, expected = CASES[case]
    config = tmp_path / "budget.toml"
    config.write_text(budget)
    model = maker(tmp_path)
    document = tmp_path / "document"
    arguments = ("check", model, "--config", config, "--format", renderer.name, "-o", document)
    assert exit_code(monkeypatch, *arguments) == expected
    assert document.exists() == (case != "no such key"), "also what failed has its document"
    errors = expected if expected in (2, 4) else 0
    assert exit_code(monkeypatch, *arguments, "--exit-zero") == errors


ORDER = (garbage, 2), (gated, 3), (two, 1), (outside, 4)


@pytest.mark.parametrize("makers", list(itertools.permutations(ORDER, 2)))
def test_one_model_does_not_stop_the_others_and_the_worst_is_told(
    makers, tmp_path: Path, monkeypatch
) -> None:
    models = []
    for maker, _ in makers:
        (tmp_path / maker.__name__).mkdir()
        models.append(maker(tmp_path / maker.__name__))
    config, output = tmp_path / "budget.toml", tmp_path / "out.csv"
    config.write_text("max-lipschitz = 5.9")
    code = exit_code(monkeypatch, "check", *models, "--config", config, "-o", output)
    assert code == next(c for c in (4, 2, 1, 3) if c in {made for _, made in makers})
    readable = {made for _, made in makers} & {1, 3}
    assert all(f"fc{i}.weight" in output.read_text() for i in range(2) if readable)


def test_precedence_is_total_and_errors_come_before_findings() -> None:
    assert sorted(PRECEDENCE) == [0, 1, 2, 3, 4, 70, 130]
    assert all(worst([130, code]) == 130 for code in PRECEDENCE), "what is interrupted is never a pass"
    for codes in itertools.combinations_with_replacement(PRECEDENCE, 3):
        found = worst(codes)
        assert found in codes
        assert found in {2, 4, 70, 130} or not {2, 4, 70, 130} & set(codes)
        assert found != 0 or set(codes) == {0}
        assert worst(reversed(codes)) == found


def test_several_models_of_an_audit(tmp_path: Path, monkeypatch, capsys) -> None:
    good, bad = scaled(tmp_path, 2, name="good.onnx"), garbage(tmp_path)
    assert exit_code(monkeypatch, "audit", bad, good, "--format", "csv") == 2
    captured = capsys.readouterr()
    assert "fc0.weight" in captured.out
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("convsv: ")
    assert exit_code(monkeypatch, "audit", good, good) == 0
    assert capsys.readouterr().out.count("good.onnx") == 2


def test_an_internal_error_is_of_one_model_alone(tmp_path: Path, monkeypatch, capsys) -> None:
    from convsv_cli.auditing import checking

    honest, models = checking.check_file, [scaled(tmp_path, 2, name=f"{name}.onnx") for name in "ab"]

    def planted(model: Path, *rest: object, **options: object) -> object:
        if model == models[0]:
            raise RuntimeError("a planted fault")
        return honest(model, *rest, **options)

    monkeypatch.setattr(checking, "check_file", planted)
    config = tmp_path / "budget.toml"
    config.write_text("max-layer = 1")
    assert exit_code(monkeypatch, "check", *models, "--config", config) == 70
    captured = capsys.readouterr()
    assert "internal error: RuntimeError: a planted fault" in captured.err
    assert "b.onnx" in captured.out
