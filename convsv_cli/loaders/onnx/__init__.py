"""ONNX graphs, with or without external data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.confinement import prepare
from convsv_cli.loaders.loader import Loader
from convsv_cli.model.network import InputSize, Network

if TYPE_CHECKING:
    from onnx import ModelProto

IR_VERSION = rb"\x08[\x01-\x1f]"
"""A protobuf message that begins with a plausible one (field 1)."""


def _load(path: Path, input_size: InputSize) -> Network:
    prepare()
    from convsv_cli.loaders.onnx.reading import read

    return read(path, input_size)


def _parts(path: Path) -> tuple[str, ...]:
    from convsv_cli.loaders.onnx.reading import parts

    return parts(path)


def _model(path: Path, _: InputSize) -> ModelProto:
    from convsv_cli.loaders.onnx.reading import parse

    return parse(path)


LOADER = Loader(
    name="onnx",
    suffixes=(".onnx",),
    description="ONNX graphs (.onnx)",
    signatures={"": IR_VERSION, ".onnx": b""},
    load=_load,
    parts=_parts,
    onnx=_model,
)
