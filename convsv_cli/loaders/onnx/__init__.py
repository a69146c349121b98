"""ONNX graphs, with or without external data."""

from __future__ import annotations

from pathlib import Path

from convsv_cli.confinement import prepare
from convsv_cli.loaders.loader import Loader
from convsv_cli.model.network import InputSize, Network

_IR_VERSIONS = range(1, 32)


def _recognises(head: bytes, suffix: str) -> bool:
    """By the suffix, or as a protobuf message that begins with a plausible `ir_version` (field 1)."""
    return suffix == ".onnx" or (head[:1] == b"\x08" and int.from_bytes(head[1:2], "big") in _IR_VERSIONS)


def _load(path: Path, input_size: InputSize) -> Network:
    prepare()
    from convsv_cli.loaders.onnx.reading import read

    return read(path, input_size)


def _parts(path: Path) -> tuple[str, ...]:
    from convsv_cli.loaders.onnx.reading import parts

    return parts(path)


LOADER = Loader(
    name="onnx",
    suffixes=(".onnx",),
    description="ONNX graphs (.onnx)",
    recognises=_recognises,
    load=_load,
    parts=_parts,
)
