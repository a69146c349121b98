"""Programs that torch.export saved: `.pt2`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.loaders.loader import Loader, NamedTensors
from convsv_cli.model.network import InputSize, Network

if TYPE_CHECKING:
    from onnx import ModelProto

_ZIP = rb"PK\x03\x04"
_OWN_NAME = (
    rb"(?:[^/\0]{0,512}/(?:data/(?:weights|constants|sample_inputs)/|models/|archive_(?:format|version))"
    rb"|serialized_(?:exported_program|state_dict|constants)\.)"
)
"""What the name of a zip file's first record, 30 bytes from its beginning, says in programs alone."""


def _load(path: Path, input_size: InputSize) -> Network:
    from convsv_cli.loaders.pt2.reading import read

    return read(path, input_size)


def _tensors(path: Path) -> NamedTensors:
    from convsv_cli.loaders.pt2.reading import tensors_of

    return NamedTensors(tensors=tensors_of(path), format="pt2")


def _model(path: Path, input_size: InputSize) -> ModelProto:
    from convsv_cli.loaders.pt2.reading import onnx_model

    return onnx_model(path, input_size)


LOADER = Loader(
    name="pt2",
    suffixes=(".pt2",),
    description="programs of torch.export (.pt2)",
    signatures={"": _ZIP + rb"(?s:.{26})" + _OWN_NAME, ".pt2": _ZIP},
    load=_load,
    tensors=_tensors,
    onnx=_model,
)
