"""A folder of generated checkpoints: epochs, duplicates, links, broken files and hostile ones."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Draw = Callable[[int], dict[str, torch.Tensor]]
BROKEN = 10
HOSTILE = 3
EXECUTED = "/tmp/convsv-was-here"


class Executed:
    """What a pickle runs when it is loaded by pickle itself."""

    def __reduce__(self):
        return (open, (EXECUTED, "w"))


def weights(seed: int) -> dict[str, torch.Tensor]:
    """A state dict of two small layers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "fc.weight": torch.randn(5, 8, generator=generator),
    }


def make(root: Path, models: int, weights: Draw = weights) -> dict[str, int]:
    """Fill a folder with so many models that can be audited; how many files there are of each kind.

    Args:
        root: the folder, which is made.
        models: how many, two of which are links and copies may lead to.
        weights: the state dict of each, by its number.
    """
    for number in range(models):
        folder = root / f"run{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        if number % 2:
            save_file(weights(number), folder / f"epoch{number:03}.safetensors")
        else:
            torch.save({"model": weights(number), "epoch": number}, folder / f"epoch{number:03}.pt")
    links = _links(root, weights)
    _broken(root / "broken")
    _hostile(root / "hostile")
    return {"audited": models + 2, "same": links, "failed": BROKEN + HOSTILE}


def rows(results: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table in the results of a sweep, without the time that they took."""
    found = [json.loads(line) for line in (results / f"{table}.jsonl").read_text().splitlines()]
    for row in found:
        row.pop("seconds", None)
    return found


def _links(root: Path, weights: Draw) -> int:
    """A copy, a cache as Hugging Face lays it out, links to files and folders, and a circle of them."""
    (root / "copy").mkdir()
    (root / "copy" / "epoch000.pt").write_bytes((root / "run0" / "epoch000.pt").read_bytes())
    hub = root / "models--org--net"
    (hub / "blobs").mkdir(parents=True)
    (hub / "snapshots" / "0a1b").mkdir(parents=True)
    (hub / "snapshots" / "2c3d").mkdir(parents=True)
    save_file(weights(10**6), hub / "blobs" / "abcdef")
    for revision in ("0a1b", "2c3d"):
        (hub / "snapshots" / revision / "model.safetensors").symlink_to("../../blobs/abcdef")
    (root / "latest.safetensors").symlink_to("run1/epoch001.safetensors")
    (root / "again").symlink_to("run1", target_is_directory=True)
    (root / "run1" / "up").symlink_to("..", target_is_directory=True)
    return 2


def _broken(folder: Path) -> None:
    folder.mkdir()
    torch.save(weights(0), folder / "whole.tmp")
    whole = (folder / "whole.tmp").read_bytes()
    (folder / "whole.tmp").unlink()
    (folder / "empty.onnx").touch()
    (folder / "half.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "noise.bin").write_bytes(bytes(range(256)) * 9)
    (folder / "page.safetensors").write_text("<!doctype html><html>404</html>")
    (folder / "lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (folder / "nowhere.ckpt").symlink_to("not-there.ckpt")
    (folder / "list.pt").write_bytes(pickle.dumps([1, 2, 3]))
    (folder / "text.onnx").write_text("no model")
    (folder / "net.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"w": "absent.safetensors"}})
    )
    (folder / "short.safetensors").write_bytes((10**6).to_bytes(8, "little") + b"{}")


def _hostile(folder: Path) -> None:
    folder.mkdir()
    (folder / "runs.pt").write_bytes(pickle.dumps({"w": Executed()}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 2**62]}}).encode()
    (folder / "claims.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with zipfile.ZipFile(folder / "outside.pt", "w") as archive:
        archive.writestr("../../outside/data.pkl", pickle.dumps({}))
