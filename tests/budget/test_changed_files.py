"""The hook: whatever file of a model a commit changes, and the budget, the model is checked."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import onnx
import pytest
import torch
import yaml

from convsv_cli.loaders import LOADERS
from convsv_cli.loaders.files import CHOICES
from tests.support.budget_models import convolution, exit_code

pytestmark = pytest.mark.usefixtures("capsys")  # the command in this process takes stdout over
DATA = (
    "model.onnx.data",
    "model.onnx_data",
    "model.onnx_data_1",
    "model.onnx.data.0",
    "weights.data",
    "model.weights",
    "layers.0.weight",
    "layers.0.bias",
    "weights.bin",
    "onnx__MatMul_1234",
)
"""As torch, optimum and onnx call external data."""


@pytest.fixture(scope="module")
def hook(request: pytest.FixtureRequest) -> dict:
    (hook,) = yaml.safe_load((request.config.rootpath / ".pre-commit-hooks.yaml").read_text())
    return hook


def test_the_pattern_has_every_file_that_convsv_reads(hook: dict) -> None:
    suffixes = {suffix for loader in LOADERS for suffix in loader.suffixes}
    assert suffixes >= {".onnx", ".pt", ".pt2", ".safetensors", ".index.json"}
    for loader in LOADERS:
        assert all(suffix in loader.description for suffix in loader.suffixes)
    names = {pattern.replace("*", "model") for patterns in CHOICES for pattern in patterns}
    names |= {f"folder/model{suffix}" for suffix in suffixes}
    names |= {name.upper() for name in names} | {*DATA, *(f"folder/{name}" for name in DATA)}
    names |= {"convsv.toml", "pyproject.toml", "folder/convsv.toml"}
    assert [name for name in sorted(names) if not re.search(hook["files"], name)] == []
    others = ("model.py", "README.md", "notonnx", "my_convsv.toml", "data.csv", "package.json", "database")
    assert [name for name in others if re.search(hook["files"], name)] == []


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """A graph with data in a folder, an index with a shard, a model alone, and a budget of the first."""
    monkeypatch.chdir(tmp_path)
    model = onnx.load(convolution(tmp_path))
    (tmp_path / "data").mkdir()
    onnx.save(model, "net.onnx", save_as_external_data=True, size_threshold=0, location="data/net.onnx.data")
    state = {"fc.weight": torch.eye(3)}
    torch.save(state, "shard-1.bin")
    torch.save(state, "alone.pt")
    Path("all.bin.index.json").write_text(json.dumps({"weight_map": {"fc.weight": "shard-1.bin"}}))
    Path("convsv.toml").write_text('models = ["net.onnx"]\nmax-layer = 1e3\n')
    Path("orphan.data").write_bytes(bytes(64))
    return tmp_path


CHECKED = {
    "net.onnx": ["net.onnx"],
    "data/net.onnx.data": ["net.onnx"],
    "shard-1.bin": ["all.bin.index.json"],
    "all.bin.index.json": ["all.bin.index.json"],
    "alone.pt": ["alone.pt"],
    "convsv.toml": ["net.onnx"],
    "convsv.toml net.onnx data/net.onnx.data alone.pt": ["net.onnx", "alone.pt"],
}


@pytest.mark.parametrize(("files", "models"), CHECKED.items())
@pytest.mark.usefixtures("project")
def test_the_models_of_changed_files_are_checked(files, models, hook, monkeypatch) -> None:
    arguments = [*shlex.split(hook["entry"])[1:], *files.split(), "-o", "out.json"]
    assert exit_code(monkeypatch, *arguments) == 0
    assert [each["model"]["path"] for each in audits(Path("out.json"))] == models


@pytest.mark.parametrize("where", [".", "data", "other"])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("linked", [False, True])
def test_data_are_followed_from_anywhere(where, absolute, linked, project: Path, monkeypatch) -> None:
    """And checked once, however many names lead there."""
    for folder in ("other", "data/blobs"):
        Path(folder).mkdir()
    file = project / "data" / "net.onnx.data"
    if linked:
        file = file.rename(project / "data" / "blobs" / "0a1b")
        Path("data/net.onnx.data").symlink_to(file)
    Path("convsv.toml").write_text("max-layer = 1e3\n")
    monkeypatch.chdir(where)
    names = [file, Path(os.path.relpath(file))] if absolute else [Path(os.path.relpath(file))]
    assert exit_code(monkeypatch, "check", "--changed", *names, "-o", project / "out.json") == 0
    (path,) = [each["model"]["path"] for each in audits(project / "out.json")]
    assert Path(path).samefile(project / "net.onnx")
    assert Path(path).is_absolute() == absolute


def test_shards_are_known_by_names_that_json_escapes(project: Path, monkeypatch) -> None:
    Path("shard-1.bin").rename("shärd.bin")
    Path("all.bin.index.json").write_text(json.dumps({"weight_map": {"fc.weight": "shärd.bin"}}))
    assert exit_code(monkeypatch, "check", "--changed", "shärd.bin", "-o", "out.json") == 0
    assert [each["model"]["path"] for each in audits(project / "out.json")] == ["all.bin.index.json"]


def audits(path: Path) -> list[dict]:
    """What a report has."""
    return json.loads(path.read_text())["audits"]


@pytest.mark.parametrize("file", ["data/net.onnx.data", "convsv.toml", "net.onnx"])
@pytest.mark.usefixtures("project")
def test_a_change_beyond_the_budget_fails_the_commit(file, hook, monkeypatch) -> None:
    Path("convsv.toml").write_text('models = ["net.onnx"]\nmax-layer = 1e-3\n')
    assert exit_code(monkeypatch, *shlex.split(hook["entry"])[1:], file) == 1


@pytest.mark.usefixtures("project")
def test_what_concerns_no_model_is_said_and_left_out(monkeypatch, capsys) -> None:
    Path("pyproject.toml").write_text("[project]\n")
    for file, said in (("orphan.data", "neither a model"), ("pyproject.toml", "not the budget in use")):
        assert exit_code(monkeypatch, "check", "--changed", file) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"convsv: {file}: {said}")
        assert captured.err.count("\n") == 1
    Path("convsv.toml").write_text("max-layer = 1e3\n")
    assert exit_code(monkeypatch, "check", "--changed", "convsv.toml") == 0
    assert "names no models" in capsys.readouterr().err
    assert exit_code(monkeypatch, "check", "--changed", "convsv.toml", "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert exit_code(monkeypatch, "check", "--changed", "absent.onnx", "--quiet") == 2
    assert "absent.onnx: no such file" in capsys.readouterr().err, "an error is no note"


@pytest.mark.usefixtures("project")
def test_a_damaged_owner_is_no_owner_without_a_word(monkeypatch, capsys) -> None:
    """It mentions the data, and cannot be parsed: its check says so."""
    damaged = Path("net.onnx").read_bytes()
    Path("net.onnx").write_bytes(damaged[:-40] + b"\xff" * 40)
    assert exit_code(monkeypatch, "check", "--changed", "data/net.onnx.data") == 2
    assert "net.onnx" in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_a_changed_graph_or_baseline_concerns_all_models(monkeypatch) -> None:
    assert exit_code(monkeypatch, "audit", "net.onnx", "-o", "main.json") == 0
    arguments = ("check", "--changed", "main.json", "--baseline", "main.json", "-o", "out.json")
    assert exit_code(monkeypatch, *arguments) == 0
    assert [each["model"]["path"] for each in audits(Path("out.json"))] == ["net.onnx"]
