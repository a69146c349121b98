"""Which models a sweep finds."""

import json
from pathlib import Path

import pytest

from convsv_cli.errors import UsageError
from convsv_cli.sweeping import Found, discover, discovery


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def paths(root: Path, *named: str) -> list[str]:
    found = discover([str(root / name) for name in named] or [str(root)])
    return [str(Path(each.path).relative_to(root)) for each in found if not each.same_as]


def test_models_are_found_by_their_names_in_order(tmp_path):
    touch(tmp_path, "b.onnx", "a.pt", "notes.txt", "deep/er/c.safetensors", "deep/d.pth", "e.onnx.data")
    assert paths(tmp_path) == ["a.pt", "b.onnx", "deep/d.pth", "deep/er/c.safetensors"]


def test_what_trainers_save_beside_a_model_is_none(tmp_path):
    touch(tmp_path, "model.pt", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin")
    assert paths(tmp_path) == ["model.pt"]


def test_a_file_is_looked_at_whatever_its_name(tmp_path):
    touch(tmp_path, "weights", "optimizer.pt")
    assert paths(tmp_path, "weights", "optimizer.pt") == ["weights", "optimizer.pt"]


def test_shards_belong_to_their_index(tmp_path):
    touch(tmp_path, "x-1.safetensors", "x-2.safetensors", "other.safetensors")
    index = {"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}
    (tmp_path / "x.safetensors.index.json").write_text(json.dumps(index))
    assert paths(tmp_path) == ["other.safetensors", "x.safetensors.index.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"weight_map": 1}', '{"weight_map": {"a": "../x.pt"}}', "[" * 9999]
)
def test_an_index_that_is_none_hides_nothing(tmp_path, text):
    touch(tmp_path, "x.pt")
    (tmp_path / "x.index.json").write_text(text)
    assert "x.pt" in paths(tmp_path)


def test_links_are_the_same_file_and_circles_end(tmp_path):
    touch(tmp_path, "a/x.pt")
    (tmp_path / "b.pt").symlink_to("a/x.pt")
    (tmp_path / "a" / "up").symlink_to("..", target_is_directory=True)
    (tmp_path / "nowhere.pt").symlink_to("absent.pt")
    found = list(discover([str(tmp_path)]))
    at = str(tmp_path)
    assert found == [
        Found(path=f"{at}/b.pt"),
        Found(path=f"{at}/nowhere.pt"),
        Found(path=f"{at}/a/x.pt", same_as=f"{at}/b.pt"),
    ]


def test_of_a_cache_of_hugging_face_snapshots_count(tmp_path):
    touch(tmp_path, "models--a--b/blobs/weights.safetensors", "models--a--b/refs/main")
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/weights.safetensors")
    assert paths(tmp_path) == ["models--a--b/snapshots/0a1b/model.safetensors"]


def test_globs_are_for_what_is_no_path(tmp_path):
    touch(tmp_path, "run1/a.pt", "run2/b.pt", "run3/c.onnx", "[x].pt")
    assert paths(tmp_path, "run*/*.pt", "[x].pt") == ["run1/a.pt", "run2/b.pt", "[x].pt"]
    assert paths(tmp_path, "**/*.onnx") == ["run3/c.onnx"]


def test_what_names_nothing_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        paths(tmp_path, "*.pt")


def test_a_listing_without_end_is_one(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{number}.txt" for number in range(30)))
    monkeypatch.setattr(discovery, "MOST", 20)
    with pytest.raises(UsageError, match="more than 20 files and folders"):
        paths(tmp_path)


def test_a_folder_that_may_not_be_read_has_nothing(tmp_path, monkeypatch):
    touch(tmp_path, "a.pt")

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(discovery.os, "scandir", refused)
    assert paths(tmp_path) == []
