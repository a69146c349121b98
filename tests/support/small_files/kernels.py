"""Weights whose norms, or whose exact norms at a size, take long or much memory."""

from __future__ import annotations

from tests.support.small_files.small_file import SmallFile

FILES: tuple[SmallFile, ...] = ()
