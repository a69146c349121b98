"""What is no model file at all, and what lies elsewhere than it should."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file

from tests.support.onnx_models import graph_model, normal
from tests.support.threats.threat import BROKEN, UNSAFE, Threat

OUTSIDE = "outside the model's folder"


def _text(folder: Path, *, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def _pipe(folder: Path, *, name: str) -> Path:
    os.mkfifo(folder / name)
    return folder / name


def _device(_folder: Path) -> Path:
    return Path("/dev/zero")


def _linked_device(folder: Path) -> Path:
    (folder / "model.onnx").symlink_to("/dev/zero")
    return folder / "model.onnx"


def _linked_to_itself(folder: Path) -> Path:
    (folder / "model.pt").symlink_to(folder / "model.pt")
    return folder / "model.pt"


def _holes(folder: Path, *, name: str, head: bytes) -> Path:
    """A hundred gigabytes that take no room on the disk."""
    with (folder / name).open("wb") as file:
        file.write(head)
        file.truncate(100 << 30)
    return folder / name


def _folder_of_pipes(folder: Path) -> Path:
    for name in ("model.safetensors", "model.onnx", "model.pt"):
        os.mkfifo(folder / name)
    return folder


def _external(folder: Path, *, location: str, **entries: str) -> Path:
    """A graph whose weight is said to be at a location, with a secret beside the model's folder."""
    (folder / "secret").write_bytes(bytes(1000))
    inside = folder / "model"
    (inside / "a").mkdir(parents=True)
    (inside / "link").symlink_to(folder / "secret")
    (inside / "device").symlink_to("/dev/zero")
    os.mkfifo(inside / "pipe")
    (inside / "data").write_bytes(bytes(4 * 4 * 3 * 3 * 3))
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    model = graph_model([node], {"x": [1, 3, 8, 8]}, {"w": normal(4, 3, 3, 3)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    onnx.save(model, inside / "model.onnx")
    return inside / "model.onnx"


def _index(folder: Path, *, location: str) -> Path:
    """An index with a shard that is said to be at a location, with a secret beside the model's folder."""
    save_file({"a.weight": torch.ones(2, 2)}, folder / "secret.safetensors")
    inside = folder / "model"
    (inside / "a").mkdir(parents=True)
    (inside / "link.safetensors").symlink_to(folder / "secret.safetensors")
    os.mkfifo(inside / "pipe.safetensors")
    path = inside / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a.weight": location}}))
    return path


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 45\n"
PAGE = "\n<!DOCTYPE html><html><body>Not found</body></html>"
THREATS = (
    *(
        Threat(name=f"an empty {name}", make=partial(_text, name=name, text=""), code=BROKEN, says="empty")
        for name in ("model.onnx", "model.safetensors")
    ),
    Threat(name="a git-LFS pointer", make=partial(_text, name="m.safetensors", text=LFS), code=BROKEN,
           says="git lfs pull"),
    Threat(name="a web page", make=partial(_text, name="model.pth", text=PAGE), code=BROKEN, says="web page"),
    Threat(name="a pipe", make=partial(_pipe, name="model.pt"), code=BROKEN, says="a pipe or device"),
    Threat(name="a device", make=_device, code=BROKEN, says="a pipe or device"),
    Threat(name="a link to a device", make=_linked_device, code=BROKEN, says="a pipe or device"),
    Threat(name="a link to itself", make=_linked_to_itself, code=BROKEN, says="cannot be read"),
    Threat(name="a folder of pipes", make=_folder_of_pipes, code=BROKEN, says="a folder without a model"),
    Threat(name="a graph of 100 GB", make=partial(_holes, name="model.onnx", head=b"\x08\x0a"), code=BROKEN,
           says="longer than an ONNX file can be"),
    Threat(name="a checkpoint of 100 GB", make=partial(_holes, name="model.pt", head=b"PK\x03\x04"),
           code=BROKEN, says="zip archive is damaged"),
    Threat(name="an index of 100 GB", make=partial(_holes, name="model.index.json", head=b"{"), code=UNSAFE,
           says="the index is longer"),
    *(
        Threat(name=f"external data at {location}", make=partial(_external, location=location), code=UNSAFE,
               says=says)
        for location, says in (
            ("../secret", OUTSIDE), ("a/../../secret", OUTSIDE), ("/etc/passwd", OUTSIDE), ("link", OUTSIDE),
            ("device", OUTSIDE), ("pipe", "not a regular file"), ("a", "not a regular file"),
        )
    ),
    Threat(name="external data of a false length", make=partial(_external, location="data", length="4"),
           code=BROKEN, says="wrong length"),
    Threat(name="external data beyond the file", make=partial(_external, location="data", offset="4096"),
           code=BROKEN, says="too short"),
    *(
        Threat(name=f"a shard at {location}", make=partial(_index, location=location), code=UNSAFE, says=says)
        for location, says in (
            ("../secret.safetensors", OUTSIDE), ("/etc/passwd", OUTSIDE), ("link.safetensors", OUTSIDE),
            ("pipe.safetensors", "not a regular file"),
        )
    ),
)  # fmt: skip
