"""PyTorch state dicts, training checkpoints, pickled modules and TorchScript: `.pt .pth .th .ckpt .bin`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.loaders.loader import Loader, NamedTensors, state_dict
from convsv_cli.model.network import InputSize

if TYPE_CHECKING:
    from onnx import ModelProto

SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".jit")


def _tensors(path: Path) -> NamedTensors:
    from convsv_cli.loaders.checkpoint.reading import tensors_of

    return tensors_of(path)


def _model(path: Path, _: InputSize) -> ModelProto:
    from convsv_cli.loaders.checkpoint.reading import onnx_model

    return onnx_model(path)


LOADER = Loader(
    name="checkpoint",
    suffixes=SUFFIXES,
    description=(
        "PyTorch state dicts, training checkpoints, pickled modules and TorchScript"
        " (.pt .pth .th .ckpt .bin .jit)"
    ),
    signatures={"": rb"PK\x03\x04|\x80", **dict.fromkeys(SUFFIXES, b"")},
    load=state_dict(_tensors, "save model.state_dict(), or export the model to ONNX"),
    tensors=_tensors,
    onnx=_model,
)
