"""ONNX graphs: their constants, attributes and shapes."""

from __future__ import annotations

from tests.support.small_files.small_file import SmallFile

FILES: tuple[SmallFile, ...] = ()
