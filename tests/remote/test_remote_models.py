"""Remote models: the figures of local ones, from those bytes alone that are wanted."""

from __future__ import annotations

import ast
import json
import shutil
from hashlib import sha256
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from convsv_cli import audit
from convsv_cli.cli import cli
from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.loaders import files as loading
from convsv_cli.loaders import mapped
from convsv_cli.remote import files, ranges
from convsv_cli.remote.mirror import mirrored
from convsv_cli.report import Audit
from tests.support import json_schemas
from tests.support.onnx_models import graph_model, normal
from tests.support.range_server import serving
from tests.support.sparse_models import sparse_safetensors
from tests.support.store_system import storing

SIZE, MOST = 10**9, 0.05


def figures(report: Audit) -> list[object]:
    """What both a local file and a remote one give."""
    return [
        (row.name, row.weight_sha256, [(name, m.value, m.enclosure) for name, m in row.measurements])
        for row in report.layers
    ]


def test_two_layers_of_a_gigabyte(tmp_path):
    path = sparse_safetensors(tmp_path / "model.safetensors", SIZE)
    small = sparse_safetensors(tmp_path / "small.safetensors", 10**5)  # of the same two layers
    with serving(tmp_path) as web, storing(tmp_path.parent) as store:
        address = f"s3://{tmp_path.name}/model.safetensors"
        over_web = audit(f"{web.url}/model.safetensors?signature=secret", layers=["a.*"])
        from_store = audit(address, layers=["a.*"])
    local = audit(small, layers=["a.*"])
    assert len(local.layers) == 2
    assert figures(over_web) == figures(from_store) == figures(local)
    assert 0 < web.sent < MOST * path.stat().st_size
    assert 0 < store.sent < MOST * path.stat().st_size
    assert (over_web.model.path, from_store.model.path) == (f"{web.url}/model.safetensors", address)
    assert over_web.model.sha256 == from_store.model.sha256 == ""
    note = over_web.findings[0].message
    assert note.startswith("read 17.5 kB of 1 GB from http://127.0.0.1:")
    assert note.endswith('; no digest of what was read in part (model.safetensors: ETag "1")')
    assert "secret" not in repr(over_web)
    assert all("secret" in path for path, _, _ in web.asked)  # of which every request needs it


def external(folder: Path) -> Path:
    """An ONNX model with its weights beside it: a small one and a large one."""
    weights = {"small": normal(4, 3, 3, 3), "large": np.zeros((1, 2048, 1024), np.float32)}
    makers = onnx.helper.make_node
    nodes = [makers("Conv", ["x", "small"], ["y"]), makers("Identity", ["large"], ["z"])]
    model = graph_model(nodes, {"x": (1, 3, 8, 8)}, weights)
    beside = {"save_as_external_data": True, "location": "sub.data", "size_threshold": 0}
    onnx.save(model, folder / "model.onnx", **beside)
    return folder / "model.onnx"


def sharded(folder: Path) -> Path:
    """A model in two files, with an index."""
    sparse_safetensors(folder / "one.safetensors", 10**7)
    shutil.copy(folder / "one.safetensors", folder / "two.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a.0.weight": "one.safetensors"}}')
    return folder / "model.safetensors.index.json"


def checkpoint(folder: Path) -> Path:
    """A zip archive of storages."""
    torch.save({"a.weight": torch.ones(3, 3, 2, 2), "z.weight": torch.zeros(2048, 1024)}, folder / "model.pt")
    return folder / "model.pt"


def legacy(folder: Path) -> Path:
    """Pickles, and storages after them."""
    state = {"a.weight": torch.ones(3, 3, 2, 2), "z.weight": torch.zeros(2048, 1024)}
    torch.save(state, folder / "model.pth", _use_new_zipfile_serialization=False)
    return folder / "model.pth"


@pytest.mark.parametrize("made", [external, sharded, checkpoint, legacy])
def test_other_formats(made, tmp_path):
    path = made(tmp_path)
    size = sum(each.stat().st_size for each in tmp_path.iterdir())
    layers = [] if made is external else ["a*"]
    with serving(tmp_path) as web, storing(tmp_path.parent) as store:
        over_web = audit(f"{web.url}/{path.name}", layers=layers)
        from_store = audit(f"s3://{tmp_path.name}/{path.name}", layers=layers)
        sent, store.async_impl = store.sent, False
        assert figures(audit(f"s3://{tmp_path.name}/{path.name}", layers=layers)) == figures(from_store)
        assert store.sent == 2 * sent  # nothing was read ahead
    assert figures(over_web) == figures(from_store) == figures(audit(path, layers=layers))
    assert 0 < max(web.sent, sent) < MOST * size
    if made is sharded:  # of which the index is read whole
        assert from_store.model.files_sha256 == (sha256(path.read_bytes()).hexdigest(), "")


def test_what_is_read_whole_has_its_digest(tmp_path):
    model = graph_model(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"])], {"x": (1, 3, 8, 8)}, {"w": normal(4, 3, 3, 3)}
    )
    onnx.save(model, tmp_path / "model.onnx")
    local = audit(tmp_path / "model.onnx")
    with storing(tmp_path.parent):
        remote = audit(f"s3://{tmp_path.name}/")  # the only model in the folder
    assert remote.model.sha256 == local.model.sha256 != ""
    assert remote.model.path == f"s3://{tmp_path.name}/model.onnx"
    assert (figures(remote), remote.bound.lipschitz) == (figures(local), local.bound.lipschitz)


def test_a_reader_that_does_not_ask_finds_nothing(tmp_path, monkeypatch):
    sparse_safetensors(tmp_path / "model.safetensors", 10**6)
    with serving(tmp_path) as web, mirrored(f"{web.url}/model.safetensors") as mirror:
        assert mirror.path.read_bytes() == b""
    monkeypatch.setattr(mapped, "view", lambda path, *place: np.memmap(path, np.uint8, place[2], *place[:2]))
    with serving(tmp_path) as web:
        found = audit(f"{web.url}/model.safetensors", layers=["a.*"])
    assert [row.measurements for row in found.layers] == [(), ()]
    assert "it cannot be measured: ValueError: mmap length is greater" in found.layers[0].reason


def test_loaders_open_no_file_themselves():
    """But for the one that has fetched all of it, and one of files that changed in a repository."""
    own = {"open", "read_bytes", "read_text", "memmap", "fromfile", "load"}
    found = set()
    package = Path(loading.__file__).parent.parent
    for path in (*package.joinpath("loaders").rglob("*.py"), *package.joinpath("auditing").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in own:
                found.add((path.name, ast.unparse(node.func)))
    assert {each for each in found if each[1] not in ("load", "loader.load")} == {
        ("owners.py", "path.open"),
        ("protobuf.py", "path.open"),
    }


def test_reports_without_a_digest(tmp_path, monkeypatch):
    """Every form of them; JSON by its schema."""
    sparse_safetensors(tmp_path / "model.safetensors", 10**5)
    monkeypatch.chdir(tmp_path)
    address = f"s3://{tmp_path.name}/model.safetensors"
    with storing(tmp_path.parent):
        found = CliRunner().invoke(cli, ["audit", address, "--format", "json", "--layers", "a.*"])
        Path("remote.json").write_text(found.stdout)
        same = CliRunner().invoke(cli, ["diff", "remote.json", address, "--format", "json"])
    for command, text in {"audit-2": found.stdout, "diff-1": same.stdout}.items():
        schema = json.loads((json_schemas.FOLDER / f"{command}.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))
    assert (found.exit_code, same.exit_code) == (0, 0)
    sarif = CliRunner().invoke(cli, ["report", "remote.json", "--format", "sarif"])
    (artifact,) = json.loads(sarif.stdout)["runs"][0]["artifacts"]
    assert artifact == {"location": {"uri": address}, "roles": ["analysisTarget"]}


def test_any_ranges_in_any_order(tmp_path, monkeypatch):
    """Against the bytes themselves, and the set of their places: each is fetched once, and no other one."""
    monkeypatch.setattr(ranges, "PIECE", 7)
    monkeypatch.setattr(ranges, "BLOCK", 4)
    random = np.random.default_rng(0)
    content = random.bytes(101)
    (tmp_path / "model.bin").write_bytes(content)
    for _ in range(20):
        with storing(tmp_path.parent) as store, mirrored(f"s3://{tmp_path.name}/model.bin") as mirror:
            wanted: set[int] = set()
            for _ in range(12):
                start, end = sorted(random.choice(len(content) + 1, 2, replace=False).tolist())
                if random.random() < 0.5:
                    assert bytes(files.view(mirror.path, start, end - start)) == content[start:end]
                    wanted |= set(range(start, end))
                else:
                    with files.opened(mirror.path) as file:
                        file.raw.seek(start)
                        assert file.raw.read(end - start) == content[start:end]
                    wanted |= set(range(start // 4 * 4, min(-(-end // 4) * 4, len(content))))
            asked = [place for _, first, last in store.asked for place in range(first, last)]
            assert sorted(asked) == sorted(wanted)
            assert max(last - first for _, first, last in store.asked) <= 7
            assert files.whole(mirror.path).read_bytes() == content
            assert store.sent == len(content)


def test_nothing_is_asked_for_that_lies_elsewhere(tmp_path):
    path = external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    for location in ("../sub.data", "http://127.0.0.1:1/x", "/etc/passwd", "s3://b/k", "file:///etc/passwd"):
        for tensor in model.graph.initializer:
            tensor.external_data[0].value = location
        path.write_bytes(model.SerializeToString())
        with serving(tmp_path) as web, pytest.raises(ConvsvError):
            audit(f"{web.url}/model.onnx")
        assert {asked for asked, _, _ in web.asked} == {"/model.onnx"}, location


def test_addresses_that_cannot_be_read():
    with pytest.raises(UsageError, match="web servers do not list folders"), mirrored("https://host/folder/"):
        pass
    with pytest.raises(UsageError, match="a password in an address"), mirrored("https://a:b@host/m.pt"):
        pass
    with pytest.raises(UsageError, match="not the name of a file"), mirrored("https://host/%2e%2e"):
        pass
    with pytest.raises(UsageError, match=r"reading gs:// needs .*gcsfs") as missing, mirrored("gs://b/k"):
        pass
    assert missing.value.hint == "pip install 'convsv[gs]'"
    with (
        storing(Path("/nonexistent")),
        pytest.raises(UnreadableModelError, match="no such file"),
        mirrored("s3://b/k"),
    ):
        pass
