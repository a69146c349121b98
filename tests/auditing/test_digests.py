"""The digest of a model covers every file that was read, and is what `sha256sum` says."""

from __future__ import annotations

import json
import subprocess
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from convsv_cli import api
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Report
from convsv_cli.saved import read
from tests.support.budget_models import convolution, exit_code

pytestmark = pytest.mark.usefixtures("capsys")  # the command in this process takes stdout over


def external(folder: Path, location: str = "model.onnx.data", name: str = "model.onnx") -> Path:
    """A convolution with its weights in another file."""
    model = onnx.load(convolution(folder, name="inner.onnx"))
    (folder / location).unlink(missing_ok=True)
    onnx.save(model, folder / name, save_as_external_data=True, size_threshold=0, location=location)
    return folder / name


def by_sha256sum(folder: Path, *files: str) -> str:
    """What the tool of that name says of the files; of several, of its own lines about each."""

    def run(*arguments: str, text: str = "") -> str:
        command = ["sha256sum", *arguments]
        done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=True)
        return done.stdout

    listed = run(*files)
    return listed.split()[0] if len(files) == 1 else run(text=listed).split()[0]


def test_one_file_has_its_own_digest(tmp_path: Path) -> None:
    path = convolution(tmp_path)
    model = api.audit(path).model
    assert model.sha256 == by_sha256sum(tmp_path, path.name)
    assert model.files_sha256 == ()


@pytest.mark.parametrize("location", ["model.onnx.data", "weights.bin"])
def test_external_data_are_covered(location: str, tmp_path: Path, monkeypatch) -> None:
    """A weight that changes leaves the graph's file as it was."""
    path = external(tmp_path, location)
    before = api.audit(path).model
    assert before.files == ("model.onnx", location)
    assert before.sha256 == by_sha256sum(tmp_path, *before.files)
    assert before.files_sha256 == tuple(by_sha256sum(tmp_path, name) for name in before.files)
    assert exit_code(monkeypatch, "audit", path, "-o", tmp_path / "main.json") == 0
    assert read(tmp_path / "main.json").audits[0].model == before
    data = bytearray((tmp_path / location).read_bytes())
    data[3] ^= 0x40
    (tmp_path / location).write_bytes(data)
    after = api.audit(path).model
    assert after.files_sha256[0] == before.files_sha256[0]
    assert after.sha256 != before.sha256


def test_a_checkpoint_in_a_graph_is_both(tmp_path: Path) -> None:
    """The graph may be in another folder, and have data of its own there."""
    (tmp_path / "graphs").mkdir()
    graph = tmp_path / "graphs" / "model.onnx"
    whole = onnx.load(convolution(tmp_path))
    whole.graph.node[0].input.append("own.bias")
    whole.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(6, "float32"), "own.bias"))
    onnx.save(whole, graph, save_as_external_data=True, size_threshold=0, location="model.onnx.data")
    torch.save({"conv.weight": torch.ones(6, 6, 3, 3)}, tmp_path / "net.pt")
    model = api.audit(tmp_path / "net.pt", graph=graph).model
    assert model.files == ("net.pt", "model.onnx", "model.onnx.data")
    homes = (tmp_path / "net.pt", graph, tmp_path / "graphs" / "model.onnx.data")
    assert model.files_sha256 == tuple(sha256(home.read_bytes()).hexdigest() for home in homes)


def test_shards_in_a_graph_are_covered(tmp_path: Path) -> None:
    graph = convolution(tmp_path, name="graph.onnx")
    torch.save({"conv.weight": torch.ones(6, 6, 3, 3)}, tmp_path / "model-1.bin")
    index = tmp_path / "model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"conv.weight": "model-1.bin"}}))
    model = api.audit(index, graph=graph).model
    assert model.files == (index.name, "graph.onnx", "model-1.bin")
    assert model.sha256 == by_sha256sum(tmp_path, *model.files)


def test_data_that_nothing_needs_may_be_missing(tmp_path: Path) -> None:
    """An unused tensor's; the report says which file it could not digest."""
    path = external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    lost = onnx.TensorProto(name="lost", data_type=onnx.TensorProto.FLOAT, dims=[9999])
    lost.data_location = onnx.TensorProto.EXTERNAL
    lost.external_data.add(key="location", value="../lost.data")
    model.graph.initializer.append(lost)
    onnx.save(model, path)
    audit = api.audit(path)
    assert audit.model.files == ("model.onnx", "model.onnx.data", "../lost.data")
    assert audit.model.files_sha256[2] == ""
    for renderer in RENDERERS:
        assert renderer.render(Report(command="audit", audits=(audit,)), Terminal())


def test_an_artifact_has_the_digest_of_its_own_file(tmp_path: Path) -> None:
    path = external(tmp_path)
    sarif = next(renderer for renderer in RENDERERS if renderer.name == "sarif")
    text = sarif.render(Report(command="audit", audits=(api.audit(path),)), Terminal())
    (artifact,) = json.loads(text)["runs"][0]["artifacts"]
    assert artifact["hashes"]["sha-256"] == by_sha256sum(tmp_path, "model.onnx")
