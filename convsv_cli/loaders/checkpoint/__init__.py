"""PyTorch state dicts, training checkpoints, pickled modules and TorchScript: `.pt .pth .th .ckpt .bin`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.loaders.loader import Loader
from convsv_cli.model.network import InputSize, Network

if TYPE_CHECKING:
    from convsv_cli.loaders.named_tensors import NamedTensors

SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".jit")
ZIP, PICKLE = b"PK\x03\x04", b"\x80"


def _recognises(head: bytes, suffix: str) -> bool:
    return head.startswith((ZIP, PICKLE)) or suffix in SUFFIXES


def _load(path: Path, input_size: InputSize) -> Network:
    from convsv_cli.loaders.checkpoint.reading import read

    return read(path, input_size)


def _tensors(path: Path) -> NamedTensors:
    from convsv_cli.loaders.checkpoint.reading import located

    return located(path)


LOADER = Loader(
    name="checkpoint",
    suffixes=SUFFIXES,
    description=(
        "PyTorch state dicts, training checkpoints, pickled modules and TorchScript"
        " (.pt .pth .th .ckpt .bin .jit)"
    ),
    recognises=_recognises,
    load=_load,
    tensors=_tensors,
)
