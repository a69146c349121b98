"""Models from stdin: as from files, under another name, and kept no longer than it takes."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner, Result

from convsv_cli.cli import cli, stdin
from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError, UsageError
from tests.support.budget_models import scaled


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are kept, in which nothing is left."""
    folder = tmp_path / "kept"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(tmp_path)
    yield folder
    assert not list(folder.iterdir())


def fed(content: bytes, *arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, input=content, standalone_mode=False)


def figures(result: Result) -> tuple[list, dict]:
    assert result.exception is None, result.exception
    (document,) = json.loads(result.stdout)["audits"]
    layers = [{name: value for name, value in row.items() if name != "seconds"} for row in document["layers"]]
    return layers, document["model"]


def test_a_graph_is_audited_as_its_file_is(tmp_path: Path) -> None:
    model = scaled(tmp_path, 2, 3)
    layers, described = figures(fed(model.read_bytes(), "audit", "-", "--format", "json", "-q"))
    assert layers == figures(fed(b"", "audit", str(model), "--format", "json", "-q"))[0]
    assert (described["path"], described["format"], described["files"]) == ("<stdin>", "onnx", ["stdin"])


def test_a_checkpoint_is_known_by_its_content(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.eye(3)}, tmp_path / "model.pt")
    content = (tmp_path / "model.pt").read_bytes()
    assert figures(fed(content, "audit", "-", "--format", "json"))[1]["format"] == "checkpoint"


def test_a_check_holds_it_to_a_budget(tmp_path: Path) -> None:
    content = scaled(tmp_path, 2, 3).read_bytes()
    (tmp_path / "convsv.toml").write_text("max-layer = 2.5\n")
    result = fed(content, "check", "-", "--network-effort", "quick")
    assert result.return_value == 1
    assert result.stdout.startswith("<stdin> · onnx")
    assert "exceeded  fc1: " in result.stdout
    assert fed(content, "audit", "-", "-o", "base.json").return_value == 0
    assert fed(content, "check", "-", "--baseline", "base.json").return_value == 1, (
        "of its budget, not of that"
    )


def complaint(content: bytes, *arguments: str) -> ConvsvError:
    error = fed(content, *arguments).exception
    assert isinstance(error, ConvsvError), error
    return error


def test_what_is_no_model_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdin, "_copy", lambda *_: pytest.fail("a stream that may have no end"))
    streams = {b"y\n" * 10**5: "not a model file", b"tjgg" + bytes(9000): "before GGUF", b"": "empty"}
    for content, what in streams.items():
        error = complaint(content, "audit", "-")
        assert (type(error), error.where) == (UnreadableModelError, "<stdin>")
        assert what in str(error)


def test_a_model_that_ends_too_early_is_damaged(tmp_path: Path) -> None:
    error = complaint(scaled(tmp_path, 2, 3).read_bytes()[:60], "audit", "-")
    assert str(error).startswith("<stdin>: ")
    failed = fed(scaled(tmp_path, 2, 3).read_bytes()[:60], "audit", "-", "none.onnx")
    assert "failed: <stdin>: " in failed.stdout


def test_a_stream_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = scaled(tmp_path, 2, 3).read_bytes()
    monkeypatch.setattr(stdin, "HEAD_BYTES", 16)
    room = SimpleNamespace(free=stdin.SHARE * (len(content) - 16))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    assert fed(content, "audit", "-").return_value == 0
    room.free -= stdin.SHARE
    error = complaint(content, "audit", "-")
    assert (type(error), error.where, error.exit_code) == (UnsafeModelError, "<stdin>", 4)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["audit", "-", "-"], "only be read once"),
        (["check", "-", "--baseline", "-"], "only be read once"),
        (["check", "--init", "-"], "stdin has none"),
        (["certify", "-", "--data", "none.npz"], "none.npz"),
        (["spectrum", "-"], "only a file will do here"),
        (["audit", "model.onnx", "--graph", "-"], "it has a graph of its own"),
    ],
)
def test_where_stdin_makes_no_sense(arguments: list[str], what: str, tmp_path: Path) -> None:
    scaled(tmp_path, 2, 3)
    (tmp_path / "convsv.toml").write_text("max-layer = 2.5\n")
    error = complaint(b"", *arguments)
    assert isinstance(error, UsageError | UnreadableModelError)
    assert what in str(error)


def test_an_index_cannot_come_from_stdin() -> None:
    error = complaint(b'{"weight_map": {"a.weight": "a.safetensors"}}', "audit", "-")
    assert "(pass the path of a file that ends in .index.json" in str(error)
