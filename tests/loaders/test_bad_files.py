"""Files that are no model, damaged ones, and ones that would run code: one clear line, nothing executed."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convsv_cli import load
from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from tests.support.command_line import convsv

STATE = {"conv.weight": torch.ones(2, 2, 3, 3)}


def missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def one_byte(path: Path) -> None:
    path.write_bytes(b"\x08")


def lfs_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 45\n")


def web_page(path: Path) -> None:
    path.write_text("\n<!DOCTYPE html><html><body>Not found</body></html>")


def text(path: Path) -> None:
    path.write_text("hello")


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/readme.txt", "hello")


def torchscript(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"net/{name}", "")


def no_weights(path: Path) -> None:
    torch.save({"epoch": 3}, path)


def truncated(path: Path) -> None:
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-300])


def truncated_legacy(path: Path) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-10])


def truncated_safetensors(path: Path) -> None:
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-10])


BAD: list[tuple[Callable[[Path], None], str, str]] = [
    (missing, "model.pt", "no such file"),
    (folder, "model.pt", "a folder"),
    (pipe, "model.pt", "a pipe"),
    (Path.touch, "model.pt", "empty"),
    (one_byte, "model.dat", "not a model file"),
    (lfs_pointer, "model.onnx", "git lfs pull"),
    (web_page, "model.pth", "web page"),
    (text, "model.dat", "it reads programs of torch.export"),
    (text, "model.pt", "not a PyTorch checkpoint"),
    (text, "model.onnx", "not an ONNX model"),
    (text, "model.safetensors", "damaged"),
    (other_zip, "model.pt", "not a PyTorch checkpoint"),
    (torchscript, "model.pt", "damaged"),
    (text, "model.pt2", "not a model file"),
    (other_zip, "model.pt2", "no program"),
    (no_weights, "model.pt", "no weights"),
    (truncated, "model.pt", "damaged"),
    (truncated_legacy, "model.pt", "damaged"),
    (truncated_safetensors, "model.safetensors", "damaged"),
]


@pytest.mark.parametrize(
    ("make", "name", "fragment"), BAD, ids=lambda value: getattr(value, "__name__", value)
)
def test_bad_files_say_what_where_and_what_to_do(make, name: str, fragment: str, tmp_path: Path) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(UnreadableModelError) as raised:
        load(path)
    line = str(raised.value)
    assert line.startswith(f"{path}: ")
    assert fragment in line
    assert "\n" not in line
    assert raised.value.hint


@pytest.mark.parametrize("make", [missing, truncated, web_page], ids=lambda make: make.__name__)
def test_the_command_line_prints_one_line_and_exits_with_2(make, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    make(path)
    process = convsv("audit", path)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.count("\n") == 1
    assert process.stderr.startswith(f"convsv: {path}: ")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt"
    torch.save(STATE, path)

    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableModelError, match="Permission denied"):
        load(path)


class Bomb:
    """Unpickled carelessly, it writes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("forced", ["0", "1"])
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(forced: str, zipped: bool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    path, canary = tmp_path / "model.pt", tmp_path / "canary"
    torch.save({**STATE, "bomb": Bomb(canary)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeModelError, match=r"would call (posix|nt)\.mkdir; nothing of it was run"):
        load(path)
    assert not canary.exists()
    pickle_path = tmp_path / "plain.bin"
    pickle_path.write_bytes(pickle.dumps(Bomb(canary), protocol=2))
    with pytest.raises(UnsafeModelError, match="nothing of it was run"):
        load(pickle_path)
    assert not canary.exists()
