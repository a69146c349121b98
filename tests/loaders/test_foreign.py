"""Formats that convsv does not read: one line that says what to do instead."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from convsv_cli import load
from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders import LOADERS
from convsv_cli.loaders.foreign import FORMATS
from tests.support.onnx_models import small_network


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")
    return file.getvalue()


FILES = {
    "m.ggml": (b"tjgg\3\0\0\0", "convert the model again"),
    "m.bin": (b"tjgg\3\0\0\0" * 8, "save"),
    "m.h5": (b"\x89HDF\r\n\x1a\n", "export it in Keras"),
    "no-suffix": (b"\x89HDF\r\n\x1a\n", "export it in Keras"),
    "m.keras": (zipped(), "export it in Keras"),
    "m.npz": (zipped(), "safetensors.numpy"),
    "m.tflite": (b"\x1c\0\0\0TFL3", "tf2onnx.convert --tflite"),
    "saved_model.pb": (b"\x08\x01\x12\x04\x0a\x02\xff\xfe", "tf2onnx.convert --saved-model"),
    "m.mlmodel": (b"\x08\x05\x12\x10abcdefghijklmnop", "that it was made from"),
    "m.engine": (b"ftrt\0\0\0\0", "that it was made from"),
    "m.pdmodel": (b"\x0a\x05abcde", "paddle2onnx"),
    "__0_0.distcp": (zipped(), "audit its folder"),
    "m.onnx.gz": (b"\x1f\x8b\x08\0", "unpack it"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_to_do_instead(name: str, tmp_path: Path) -> None:
    content, instead = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableModelError) as caught:
        load(tmp_path / name)
    assert instead in caught.value.hint
    assert caught.value.where == str(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_folder_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UnreadableModelError, match="it holds a TensorFlow graph"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", sorted({suffix for each in FORMATS for suffix in each.suffixes}))
def test_a_model_is_read_whatever_it_is_called(suffix: str, tmp_path: Path) -> None:
    assert load(small_network(tmp_path, f"model{suffix}")).format == "onnx"


def test_nothing_is_both_read_and_foreign() -> None:
    read = {suffix for loader in LOADERS for suffix in loader.suffixes}
    assert not read & {suffix for each in FORMATS for suffix in each.suffixes}
