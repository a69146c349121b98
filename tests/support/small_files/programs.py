"""Programs of torch.export."""

from __future__ import annotations

from tests.support.small_files.small_file import SmallFile

FILES: tuple[SmallFile, ...] = ()
