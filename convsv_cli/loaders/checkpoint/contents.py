"""What a checkpoint file holds, before it is known what that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convsv_cli.loaders.checkpoint.storages import Storages


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The value of a file's pickle, with the storages that its tensors refer to."""

    value: Any
    storages: Storages
