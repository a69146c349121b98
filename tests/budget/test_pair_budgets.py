"""Limits from one tensor to another: which models they hold, and what becomes of those that hold none."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from onnx import helper

from convsv_cli.budget import read_configuration
from convsv_cli.errors import ConfigurationError
from convsv_cli.saved import read_one
from tests.support.command_line import convsv
from tests.support.onnx_models import graph_model, saved

WEIGHTS = {"v": np.diag([2.0, 1.0]).astype("f"), "w": np.diag([3.0, 1.0]).astype("f")}
PAIR = '[[pair]]\nfrom = "{}"\nto = "{}"\nmax-lipschitz = {}\n'
node = helper.make_node


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """From a to y, through t, by a factor of 6; from b to y by one of 1."""
    nodes = [
        node("MatMul", ["a", "v"], ["t"], name="first"),
        node("MatMul", ["t", "w"], ["u"], name="second"),
        node("Add", ["u", "b"], ["y"], name="sum"),
    ]
    return saved(graph_model(nodes, {"a": [1, 2], "b": [1, 2]}, WEIGHTS), tmp_path)


def check(model: Path, budget: str, *options: str | Path) -> tuple[int, str, str]:
    config = model.parent / "convsv.toml"
    config.write_text(budget)
    ran = convsv("check", model, "--config", config, *options)
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        (("a", "y", 6.01), 0),
        (("a", "y", 5.9), 1),
        (("b", "y", 1.0), 0),
        (("t", "y", 3.01), 0),
        (("t", "y", 2.9), 1),
        (("a", "t", 2.01), 0),
        (("b", "t", 1e-9), 0),  # nothing leads from one to the other
    ],
)
def test_each_pair_is_bounded_as_a_network_of_its_own(
    model: Path, pair: tuple[str, str, float], code: int
) -> None:
    ended, table, _ = check(model, PAIR.format(*pair))
    assert ended == code, table
    assert (f"from '{pair[0]}' to '{pair[1]}'" in table) == (code == 1)


def test_all_formats_name_the_pair(model: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"report{suffix}" for suffix in (".json", ".xml", ".sarif", ".md", ".html")]
    budget = PAIR.format("a", "y", 5.0) + PAIR.format("b", "y", 5.0)
    assert check(model, budget, *(f"--output={file}" for file in files))[0] == 1
    assert "from 'a' to 'y'" in check(model, budget, "--format", "github")[1]
    for file in files[2:4]:
        assert "from 'a' to 'y'" in file.read_text()
    assert "From one tensor to another" in files[4].read_text()
    (found,) = json.loads(files[0].read_text())["audits"]
    gates = [(gate["from"], gate["to"], gate["outcome"]) for gate in found["verdict"]["gates"]]
    assert gates == [("a", "y", "exceeded"), ("b", "y", "passed")]
    assert [finding["rule"] for finding in found["findings"]] == ["pair-budget"]
    cases = {
        case.get("name"): case.find("failure") is not None for case in ET.parse(files[1]).iter("testcase")
    }
    assert cases["from 'a' to 'y'"]
    assert not cases["from 'b' to 'y'"]
    again = read_one(files[0])
    assert [(gate.start, gate.end) for gate in again.verdict.gates] == [("a", "y"), ("b", "y")]
    assert {(pair.start, pair.end) for pair in again.bound.pairs} == {("a", "y"), ("b", "y")}


def test_a_pair_that_no_model_has_is_a_mistake(model: Path) -> None:
    code, table, complaint = check(model, PAIR.format("a", "yy", 9.0))
    assert code == 2
    assert "did you mean 'y'?" in complaint
    assert table.count("did you mean 'y'?") == 1


def test_a_pair_holds_the_models_that_have_it(model: Path, tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "v"], ["z"], name="only")]
    other = saved(graph_model(nodes, {"x": [1, 2]}, {"v": WEIGHTS["v"]}, ["z"]), tmp_path, "other.onnx")
    code, table, _ = check(model, f"max-layer = 9.0\n{PAIR.format('a', 'y', 9.0)}", other, "-v")
    assert code == 0
    assert "note: no limit from 'a' to 'y': 'a': there is no such tensor" in table


def test_constants_and_integers_are_no_ends(model: Path) -> None:
    code, _, complaint = check(model, PAIR.format("v", "y", 9.0))
    assert code == 2
    assert "'v' is constant" in complaint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[pair]]\nfrom = "a"\nmax-lipschitz = 2\n', "lacks the required key 'to'"),
        ('[[pair]]\nfrom = "a"\nto = "y"\nmax-lipshitz = 2\n', "did you mean max-lipschitz?"),
        (PAIR.format("a", "y", 2) * 2, "as is that in line 1"),
        (PAIR.format("a", "y", -1), "must be a number above 0"),
        ("from = 'a'\n", "must be an array"),
    ],
)
def test_mistakes_are_told_by_key_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "convsv.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as wrong:
        read_configuration(path)
    assert message in str(wrong.value)


def test_the_network_is_limited_between_chosen_tensors(model: Path) -> None:
    limits = 'from = ["t"]\nto = ["u"]\nmax-lipschitz = 3.01\n'
    assert check(model, limits)[0] == 0
    code, table, _ = check(model, limits, "--from", "a", "-v")
    assert code == 1
    assert "from a to u" in table


def test_a_first_budget_keeps_the_tensors(model: Path, tmp_path: Path) -> None:
    written = tmp_path / "first.toml"
    assert convsv("check", "--init", model, "--from", "t", "-o", written).returncode == 0
    assert 'from = ["t"]' in written.read_text()
    assert convsv("check", "--config", written).returncode == 0


def test_a_baseline_is_for_the_same_tensors(model: Path, tmp_path: Path) -> None:
    saved_report = tmp_path / "base.json"
    convsv("audit", model, "--from", "t", "-o", saved_report)
    same = ("--baseline", saved_report, "--from", "t")
    assert check(model, "max-layer = 9.0\n", *same)[0] == 0
    code, _, complaint = check(model, "max-layer = 9.0\n", *same[:2])
    assert code == 2
    assert "between other tensors" in complaint
    assert "--from t" in complaint
