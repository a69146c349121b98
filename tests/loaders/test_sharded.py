"""Models in several files and in folders, as Hugging Face lays them out."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file
from torch import nn

from convsv_cli import audit, load
from convsv_cli.errors import UnreadableModelError, UnsafeModelError, UsageError
from convsv_cli.model.layer import Layer
from tests.support.command_line import convsv
from tests.support.onnx_models import graph_model

FORMS = {
    "safetensors": ("model.safetensors.index.json", "model-{:05}-of-00002.safetensors", save_file),
    "bin": ("pytorch_model.bin.index.json", "pytorch_model-{:05}-of-00002.bin", torch.save),
}


def net() -> nn.Module:
    torch.manual_seed(0)
    parts = {
        "conv": nn.Conv2d(3, 4, 3),
        "wave": nn.Conv1d(4, 2, 5),
        "fc": nn.Linear(6, 5),
        "head": nn.Linear(5, 5),
    }
    return nn.ModuleDict({"model": nn.ModuleDict(parts), "lm_head": nn.Linear(5, 7)})


def sharded(folder: Path, form: str = "safetensors", state: dict[str, torch.Tensor] | None = None) -> Path:
    """The index of a model in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    index, pattern, save = FORMS[form]
    items = list((state or net().state_dict()).items())
    homes = {}
    for number, part in enumerate((items[:5], items[5:]), 1):
        name = pattern.format(number)
        save(dict(part), folder / name)
        homes |= {key: name for key, _ in part}
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": homes}))
    return folder / index


def rows(path: Path) -> dict[str, torch.Tensor]:
    return {row.weight: row.read() for row in load(path).layers if isinstance(row, Layer)}


@pytest.mark.parametrize("form", FORMS)
def test_sharded_models_are_the_state_dict(form: str, tmp_path: Path) -> None:
    path = sharded(tmp_path, form)
    state = net().state_dict()
    torch.save(state, tmp_path / "whole.pt")
    network, whole = load(path), load(tmp_path / "whole.pt")
    assert network.format == ("checkpoint" if form == "bin" else form)
    assert network.files == (path.name, *(FORMS[form][1].format(number) for number in (1, 2)))
    assert network.notes == ()
    assert [row.kernel_shape for row in network.layers] == [row.kernel_shape for row in whole.layers]
    for row, twin in zip(network.layers, whole.layers, strict=True):
        assert (row.name, row.weight, row.op) == (twin.name, twin.weight, twin.op)
        assert torch.equal(row.read(), state[row.weight])


def test_the_report_names_all_files_and_digests_them(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    report = audit(path)
    digests = [sha256((tmp_path / name).read_bytes()).hexdigest() for name in report.model.files]
    lines = "".join(f"{digest}  {name}\n" for digest, name in zip(digests, report.model.files, strict=True))
    assert report.model.sha256 == sha256(lines.encode()).hexdigest()
    assert report.model.files_sha256 == tuple(digests)
    assert len(report.model.files) == 3
    shown = convsv("audit", tmp_path, "--format", "json")
    assert shown.returncode == 0
    model = json.loads(shown.stdout)["audits"][0]["model"]
    assert (model["path"], model["sha256"]) == (str(path), report.model.sha256)


def test_parts_of_one_weight_in_two_files(tmp_path: Path) -> None:
    layer = nn.Conv2d(3, 4, 3)
    state = {f"a{i}.weight": torch.ones(2, 2) for i in range(4)}
    state |= {"c.weight_g": torch.ones(4, 1, 1, 1), "c.weight_v": layer.weight.detach()}
    found = rows(sharded(tmp_path, state=state))
    expected = torch._weight_norm(state["c.weight_v"].double(), state["c.weight_g"].double(), 0)
    torch.testing.assert_close(found["c.weight"], expected)


@pytest.mark.parametrize("form", FORMS)
def test_equal_places_in_two_files_are_not_tied(form: str, tmp_path: Path) -> None:
    state = {f"l{i}.weight": torch.full((2, 2), float(i)) for i in range(10)}
    found = rows(sharded(tmp_path, form, state))
    assert [int(tensor[0, 0]) for tensor in found.values()] == list(range(10))


def test_a_cache_of_links(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    for form in FORMS:
        sharded(blobs / form, form)
        snapshot = tmp_path / "snapshots" / form
        snapshot.mkdir(parents=True)
        for number, file in enumerate(sorted((blobs / form).iterdir())):
            blob = file.rename(blobs / form / f"{number:064x}")
            (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
        assert len(rows(snapshot)) == 5
        assert len(rows(snapshot / FORMS[form][0])) == 5
    single = tmp_path / "link.safetensors"
    save_file({"a.weight": torch.ones(2, 2)}, blobs / "f")
    single.symlink_to(blobs / "f")
    assert list(rows(single)) == ["a.weight"]


Index = dict[str, Any]


def edited(folder: Path, change: Callable[[Index, Path], None]) -> Path:
    path = sharded(folder)
    index = json.loads(path.read_text())
    change(index, folder)
    path.write_text(json.dumps(index))
    return path


def homes(**entries: Any) -> Callable[[Index, Path], None]:
    return lambda index, _: index["weight_map"].update(entries)


def without_shard(_index: Index, folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()


def twice(_index: Index, folder: Path) -> None:
    save_file(net().state_dict(), folder / "model-00002-of-00002.safetensors")


def one_file(_index: Index, folder: Path) -> None:
    second = folder / "model-00002-of-00002.safetensors"
    second.unlink()
    second.symlink_to(folder / "model-00001-of-00002.safetensors")


def pointer(_index: Index, folder: Path) -> None:
    (folder / "model-00001-of-00002.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def mixed(index: Index, folder: Path) -> None:
    torch.save({"x.weight": torch.ones(2, 2)}, folder / "x.bin")
    index["weight_map"]["x.weight"] = "x.bin"


def foreign(index: Index, folder: Path) -> None:
    onnx.save(graph_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1]}, {}), folder / "x.onnx")
    index["weight_map"]["x.weight"] = "x.onnx"


BROKEN: list[tuple[Callable[[Index, Path], None], str]] = [
    (without_shard, "'model-00002-of-00002.safetensors' is missing"),
    (twice, "'model.conv.bias' is in the shards"),
    (one_file, "two shards are the same file"),
    (pointer, "git lfs pull"),
    (mixed, "several formats"),
    (foreign, "neither safetensors nor a checkpoint"),
    (homes(absent="model-00001-of-00002.safetensors"), "has no tensor 'absent'"),
    (homes(absent=3), "not the index"),
    (lambda index, _: index.update(weight_map={}), "not the index"),
    (lambda index, _: index.update(weight_map=[]), "not the index"),
    (lambda index, _: index.clear(), "not the index"),
]


@pytest.mark.parametrize(("change", "fragment"), BROKEN, ids=[fragment for _, fragment in BROKEN])
def test_broken_indices(change: Callable[[Index, Path], None], fragment: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableModelError, match=fragment) as raised:
        load(edited(tmp_path, change))
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('{"weight_map": {"a": "x", "a": "y"}}', "'a' appears twice"),
        ("[" * 10**5, "nested too deeply"),
        ("{", "damaged"),
        ('{"weight_map": 1e999}', "not the index"),
    ],
)
def test_indices_that_are_no_json_or_name_a_tensor_twice(text: str, fragment: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(UnreadableModelError, match=fragment):
        load(path)


@pytest.mark.parametrize(
    "location", ["../secret.safetensors", "/etc/passwd", "a/../../secret.safetensors", "", "a\0b"]
)
def test_shards_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "secret.safetensors")
    path = edited(tmp_path / "model", homes(**{"a.weight": location}))
    with pytest.raises(UnsafeModelError, match="outside the model's folder"):
        load(path)


def test_the_command_line_exits_with_4_on_shards_outside_the_folder(tmp_path: Path) -> None:
    process = convsv("audit", edited(tmp_path, homes(**{"a.weight": "/etc/passwd"})))
    assert (process.returncode, process.stdout, process.stderr.count("\n")) == (4, "", 1)


def test_shards_behind_a_foreign_link_or_a_pipe_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    path = edited(folder, homes(**{"a.weight": "link.safetensors"}))
    save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "secret.safetensors")
    (folder / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(UnsafeModelError, match="outside"):
        load(path)
    (folder / "link.safetensors").unlink()
    os.mkfifo(folder / "link.safetensors")
    with pytest.raises(UnsafeModelError, match="not a regular file"):
        load(path)


def test_pickled_shards_run_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(canary),)

    path = sharded(tmp_path, "bin")
    for protocol in (2, 4):
        (tmp_path / "pytorch_model-00001-of-00002.bin").write_bytes(pickle.dumps(Bomb(), protocol=protocol))
        with pytest.raises((UnreadableModelError, UnsafeModelError)):
            load(path)
    assert not canary.exists()


def test_what_the_index_does_not_name_is_noted(tmp_path: Path) -> None:
    def change(index: Index, _folder: Path) -> None:
        del index["weight_map"]["lm_head.weight"]

    network = load(edited(tmp_path, change))
    (note,) = network.notes
    assert network.left_out == (note,)
    assert "also holds 'lm_head.weight'" in note


def test_named_inputs_and_a_graph(tmp_path: Path) -> None:
    path = sharded(tmp_path, state={f"l{i}.weight": torch.eye(4) for i in range(6)})
    with pytest.raises(UsageError, match="no named inputs"):
        load(path, input_shapes={"x": (1, 4)})
    nodes = [helper.make_node("Gemm", [f"x{i}", f"l{i}.weight"], [f"x{i + 1}"]) for i in range(6)]
    weights = {f"l{i}.weight": 2 * torch.eye(4).numpy() for i in range(6)}
    onnx.save(graph_model(nodes, {"x0": [1, 4]}, weights, outputs=["x6"]), tmp_path / "graph.onnx")
    assert audit(path, graph=tmp_path / "graph.onnx").bound.lipschitz == pytest.approx(1, rel=1e-2)


# Folders.


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names, 1):
        state = {"a.weight": torch.full((2, 2), float(number))}
        if name.endswith(".safetensors"):
            save_file(state, folder / name)
        elif name.endswith(".onnx"):
            node = helper.make_node("MatMul", ["x", "a.weight"], ["y"])
            onnx.save(
                graph_model([node], {"x": [1, 2]}, {"a.weight": state["a.weight"].numpy()}), folder / name
            )
        else:
            torch.save(state, folder / name)
    return folder


ORDERS = [
    (("model.safetensors", "pytorch_model.bin", "model.onnx"), "model.safetensors"),
    (("pytorch_model.bin", "model.onnx", "training_args.bin"), "pytorch_model.bin"),
    (("net.onnx", "net.pt", "other.pt"), "net.onnx"),
    (("last.ckpt",), "last.ckpt"),
]


@pytest.mark.parametrize(("names", "chosen"), ORDERS)
def test_the_obvious_model_of_a_folder(names: tuple[str, ...], chosen: str, tmp_path: Path) -> None:
    folder = touch(tmp_path / "m", *names)
    (folder / "config.json").write_text("{}")
    (folder / "sub").mkdir()
    network = load(folder)
    assert (network.path, network.files) == (str(folder / chosen), (chosen,))
    assert int(network.layers[0].read()[0, 0]) == 1 + names.index(chosen)


def test_the_index_of_a_folder_comes_first(tmp_path: Path) -> None:
    folder = touch(tmp_path / "m", "model.safetensors", "net.onnx")
    index = sharded(folder, "bin")
    assert load(folder).path == str(index)
    assert load(sharded(folder)).path == load(folder).path


@pytest.mark.parametrize("names", [("a.onnx", "b.onnx"), ("a.pt", "b.safetensors")])
def test_folders_with_several_models(names: tuple[str, ...], tmp_path: Path) -> None:
    folder = touch(tmp_path / "m", *names)
    with pytest.raises(UsageError, match=rf"several models: {names[0]}, {names[1]} .*convsv sweep"):
        load(folder)


def test_folders_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnreadableModelError, match="a folder without a model"):
        load(tmp_path)
    with pytest.raises(UnreadableModelError, match="not the index"):
        load(tmp_path / "config.json")


def test_the_output_never_replaces_the_model_of_a_folder(tmp_path: Path) -> None:
    folder = touch(tmp_path / "m", "model.safetensors")
    report = folder / "report.json"
    for _ in range(2):  # the second one replaces the first
        assert convsv("audit", folder, "-o", report).returncode == 0
    before = (folder / "model.safetensors").read_bytes()
    process = convsv("audit", folder, "--format", "json", "-o", folder / "model.safetensors")
    assert process.returncode == 2
    assert (folder / "model.safetensors").read_bytes() == before
