"""No gate passes on what is infinite, NaN, empty, unmatched, incomplete or undecided; all formats say so."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from onnx import helper

from convsv_cli.renderers import RENDERERS
from tests.support.budget_models import exit_code, in_doubles, of_unknown_operator, scaled
from tests.support.onnx_models import graph_model, saved

Maker = Callable[[Path], Path]
EYE = np.eye(4)
FORMATS = ("json", "sarif", "junit", "markdown", "table", "html", "github")
SUFFIXES = ("json", "sarif", "xml", "md", "txt", "html", "csv")
OUTCOMES = {0: "passed", 1: "failed", 2: "mistaken", 3: "incomplete"}


def honest(folder: Path) -> Path:
    return scaled(folder, 2, 3, name="honest.onnx")


def infinite(folder: Path) -> Path:
    """Of layers that have norms, and a network whose bound is beyond floating point."""
    return in_doubles(folder, EYE * 1e200, EYE * 1e200)


def infinite_layer(folder: Path) -> Path:
    return in_doubles(folder, np.ones((4, 4)) * 1e308)


def nan(folder: Path) -> Path:
    return scaled(folder, math.nan, 3)


def of_infinity(folder: Path) -> Path:
    return in_doubles(folder, np.full((4, 4), math.inf), EYE)


def without_layers(folder: Path) -> Path:
    relu = helper.make_node("Relu", ["x0"], ["y"])
    return saved(graph_model([relu], {"x0": [1, 4]}, {}), folder, "empty.onnx")


def without_entries(folder: Path) -> Path:
    return in_doubles(folder, np.zeros((4, 0)))


def without_graph(folder: Path) -> Path:
    torch.save({"fc0.weight": torch.eye(4) * 2, "fc1.weight": torch.eye(4) * 3}, folder / "net.pt")
    return folder / "net.pt"


def named(folder: Path, **norms: float) -> Path:
    """Matrices of those names and norms, without a graph."""
    state = {f"{name}.weight": torch.eye(4, dtype=torch.float64) * norm for name, norm in norms.items()}
    torch.save(state, folder / "named.pt")
    return folder / "named.pt"


def reshaped(folder: Path, norm: float) -> Path:
    state = {"c.weight": torch.eye(4, dtype=torch.float64), "x.weight": torch.ones(2, 8).double() * norm}
    torch.save(state, folder / "named.pt")
    return folder / "named.pt"


def gated(folder: Path) -> Path:
    return scaled(folder, 2, 3, gate=True)


def other(folder: Path) -> Path:
    model = graph_model(
        [helper.make_node("MatMul", ["x0", "w"], ["y"], name="w")], {"x0": [1, 4]}, {"w": EYE}
    )
    return saved(model, folder, "other.onnx")


LAYER, NETWORK = "max-layer = {}", "max-lipschitz = {}"
DEAD, IDLE = '[[layer]]\nmatch = "lyer*"\nmax = 9', '\n[[ignore]]\nmatch = "zzz"\nreason = "x"'
SHADOWED = '\n[[layer]]\nmatch = "fc*"\nmax = 9\n[[layer]]\nmatch = "fc1"\nmax = 9'
ALL_IGNORED = '\n[[ignore]]\nmatch = "*"\nreason = "x"'
BUDGETS: dict[str, tuple[Maker, str, int]] = {
    "inf: layer": (infinite_layer, LAYER.format("1.7e308"), 1),
    "inf: network": (infinite, NETWORK.format("1.7e308"), 1),
    "inf: network of an infinite layer": (infinite_layer, NETWORK.format("1.7e308"), 3),
    "inf: no bound": (gated, NETWORK.format("1.7e308"), 3),
    "nan: layer": (nan, LAYER.format(9), 3),
    "nan: network": (nan, NETWORK.format(9), 3),
    "nan: of another layer": (nan, '[[layer]]\nmatch = "fc1"\nmax = 9', 3),
    "nan: ignored": (nan, LAYER.format(9) + ALL_IGNORED, 3),
    "infinity in a weight": (of_infinity, LAYER.format(9), 3),
    "empty: layer": (without_layers, LAYER.format(9), 3),
    "empty: network": (without_layers, NETWORK.format(9), 3),
    "empty: weight": (without_entries, LAYER.format(9), 3),
    "empty: network of it": (without_entries, NETWORK.format(9), 3),
    "empty: all is ignored": (honest, LAYER.format(9) + ALL_IGNORED, 3),
    "empty: all that is asked for is ignored": (honest, ALL_IGNORED, 3),
    "unmatched: layer": (honest, DEAD, 2),
    "unmatched: beside a limit that holds": (honest, LAYER.format(9) + "\n" + DEAD, 2),
    "unmatched: ignore": (honest, LAYER.format(9) + IDLE, 2),
    "unmatched: expired ignore": (honest, LAYER.format(9) + IDLE + "\nexpires = 2020-01-01", 2),
    "unmatched: shadowed": (honest, SHADOWED, 2),
    "unmatched: beside a network": (honest, NETWORK.format(9) + "\n" + DEAD, 2),
    "unmatched: network without a graph": (without_graph, NETWORK.format(9), 3),
    "unmatched and exceeded": (honest, LAYER.format(1) + "\n" + DEAD, 2),
    "incomplete: layer": (of_unknown_operator, LAYER.format(9), 3),
    "incomplete: network": (of_unknown_operator, NETWORK.format(9), 3),
    "incomplete: another layer": (of_unknown_operator, '[[layer]]\nmatch = "fc0"\nmax = 9', 3),
    "undecided: layer": (honest, LAYER.format(3), 3),
    "undecided: network": (honest, NETWORK.format(6), 1),
    "passes: layer": (honest, LAYER.format(3.1), 0),
    "passes: network": (honest, NETWORK.format(6.1), 0),
    "passes: glob": (honest, '[[layer]]\nmatch = "fc*"\nmax = 3.1', 0),
}
BEFORE: dict[str, tuple[Maker, Maker, int]] = {
    "inf, and was": (infinite, infinite, 3),
    "an infinite layer, which was so": (infinite_layer, infinite_layer, 3),
    "inf, and was not": (lambda f: in_doubles(f, EYE * 1e200, EYE), infinite, 1),
    "inf, and was nearly": (lambda f: in_doubles(f, EYE * 1e200, EYE * 1.7e108), infinite, 1),
    "no bound, and had one": (honest, gated, 3),
    "nan": (honest, nan, 3),
    "nan, and was": (nan, nan, 3),
    "had no figure": (nan, honest, 3),
    "empty": (honest, without_layers, 2),
    "empty, and was": (without_layers, without_layers, 3),
    "unmatched": (other, honest, 2),
    "incomplete": (of_unknown_operator, of_unknown_operator, 3),
    "undecided: any of two": (
        lambda f: named(f, c=1, a=1, b=2),
        lambda f: named(f, c=1, x=1e300, y=1, z=1),
        3,
    ),
    "undecided: new or reshaped": (lambda f: named(f, c=1, a=1), lambda f: reshaped(f, 1e300), 3),
    "passes": (honest, honest, 0),
}
INCREASES = ((), ("--max-increase", "10%"), ("--max-increase", "9" * 300 + "%"))


def said(folder: Path, capsys) -> dict[str, bool]:
    """Whether each document says that all is well."""
    (document,) = json.loads((folder / "out.json").read_text())["audits"]
    sarif = json.loads((folder / "out.sarif").read_text())["runs"][0]
    told = [*sarif["results"], *sarif["invocations"][0]["toolExecutionNotifications"]]
    suites = ET.parse(folder / "out.xml").getroot()
    cases = list(suites.iter("testcase"))
    return {
        "json": document["verdict"]["outcome"] == "passed",
        "sarif": all(each["level"] == "note" for each in told),
        "junit": all(case.find(kind) is None for case in cases for kind in ("failure", "error")),
        "markdown": re.search(r"\*\*Budget `?passed", (folder / "out.md").read_text()) is not None,
        "table": "budget passed" in (folder / "out.txt").read_text(),
        "html": "Within budget" in (folder / "out.html").read_text(),
        "github": "::error " not in (out := capsys.readouterr().out) and "::warning " not in out,
    }


def checked(monkeypatch, folder: Path, *arguments: str | Path) -> int:
    outputs = [part for suffix in SUFFIXES for part in ("-o", folder / f"out.{suffix}")]
    return exit_code(monkeypatch, "check", *arguments, *outputs, "-o", "-", "--format", "github")


@pytest.mark.parametrize("case", BUDGETS)
def test_limits(case: str, tmp_path: Path, monkeypatch, capsys) -> None:
    maker, budget, expected = BUDGETS[case]
    config = tmp_path / "budget.toml"
    config.write_text(budget)
    assert checked(monkeypatch, tmp_path, maker(tmp_path), "--config", config) == expected
    assert said(tmp_path, capsys) == dict.fromkeys(FORMATS, expected == 0)
    outcome = json.loads((tmp_path / "out.json").read_text())["audits"][0]["verdict"]["outcome"]
    assert outcome == OUTCOMES[expected]


@pytest.mark.parametrize("case", BEFORE)
def test_baselines_and_ratchets(case: str, tmp_path: Path, monkeypatch, capsys) -> None:
    old, new, expected = BEFORE[case]
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "audit", old(tmp_path), "-o", "main.json") in (0, 3)
    model = new(tmp_path)
    for increase in INCREASES:
        code = checked(monkeypatch, tmp_path, model, "--baseline", "main.json", *increase)
        assert code == expected
        if expected == 2:  # nothing to compare with, so that there is no verdict
            assert "main.json" in capsys.readouterr().err
        else:
            assert said(tmp_path, capsys) == dict.fromkeys(FORMATS, expected == 0)
        if increase:
            assert exit_code(monkeypatch, "diff", "main.json", model, *increase) == expected
            capsys.readouterr()


def test_a_limit_that_is_beyond_floating_point_passes_what_is_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = in_doubles(tmp_path, EYE * 1.7e308)
    assert exit_code(monkeypatch, "audit", before, "-o", "main.json") == 0
    grown = in_doubles(tmp_path, EYE * 1.75e308)
    asked = ("check", grown, "--baseline", "main.json", "--max-increase")
    assert exit_code(monkeypatch, *asked, "10%") == 0
    assert exit_code(monkeypatch, *asked, "1%") == 1


ODD = {
    "NaN": '"lipschitz_upper": NaN',
    "Infinity": '"lipschitz_upper": Infinity',
    "a number beyond floating point": '"lipschitz_upper": 1e400',
    "a negative one": '"lipschitz_upper": -1.0',
    "no number": '"lipschitz_upper": "6"',
}


@pytest.mark.parametrize("name", ODD)
def test_baselines_with_odd_figures_are_one_line(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    model = spoilt(tmp_path, monkeypatch, lambda text, figure: text.replace(figure, ODD[name]))
    assert exit_code(monkeypatch, "check", model, "--baseline", "main.json") == 2
    assert capsys.readouterr().err.count("\n") == 1


def spoilt(folder: Path, monkeypatch, change: Callable[[str, str], str]) -> Path:
    """A model, and main.json, its audit with another bound of the network."""
    monkeypatch.chdir(folder)
    model = honest(folder)
    assert exit_code(monkeypatch, "audit", model, "-o", "main.json") == 0
    text = Path("main.json").read_text()
    figure = json.dumps(json.loads(text)["audits"][0]["network"]["lipschitz_upper"])
    Path("main.json").write_text(change(text, f'"lipschitz_upper": {figure}'))
    return model


def test_a_figure_that_is_null_is_no_limit(tmp_path: Path, monkeypatch, capsys) -> None:
    model = spoilt(tmp_path, monkeypatch, lambda text, was: text.replace(was, '"lipschitz_upper": null'))
    assert exit_code(monkeypatch, "check", model, "--baseline", "main.json") == 3
    assert "no finite certified figure" in capsys.readouterr().out
    Path("convsv.toml").write_text(NETWORK.format(6.1))
    assert exit_code(monkeypatch, "check", model, "--baseline", "main.json") == 0


def test_a_zero_is_a_limit(tmp_path: Path, monkeypatch) -> None:
    model = spoilt(tmp_path, monkeypatch, lambda text, was: text.replace(was, '"lipschitz_upper": 0.0'))
    assert exit_code(monkeypatch, "check", model, "--baseline", "main.json", "--max-increase", "50%") == 1


@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda renderer: renderer.name)
def test_a_mistake_in_a_budget_is_an_error_in_every_format(
    renderer, tmp_path: Path, monkeypatch, capsys
) -> None:
    config = tmp_path / "budget.toml"
    config.write_text(LAYER.format(9) + "\n" + DEAD)
    asked = ("check", honest(tmp_path), "--config", config, "--format", renderer.name)
    assert exit_code(monkeypatch, *asked) == exit_code(monkeypatch, *asked, "--exit-zero") == 2
    said = capsys.readouterr()
    assert said.err.count(f"convsv: {config}:4: no layer matches the glob 'lyer*'") == 2
    words = {"table": "budget invalid: ", "markdown": "invalid: ", "github": "budget invalid: "}
    page = {"html": ("Invalid budget", "1 part of", "applies to nothing in the models.")}
    assert all(word in said.out for word in page.get(renderer.name, [words.get(renderer.name, "")]))
