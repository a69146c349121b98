"""The descriptor of a file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convsv_cli.network import InputSize, Network


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A file format that convsv reads.

    Attributes:
        name: the `Network.format` that it gives.
        description: one line for `--help` and error messages, with the usual file endings.
        recognises: whether a file that begins with these bytes (4 KiB at most) and ends in this
            suffix (lower case, with its dot) is of this format.
        load: read it; raises `UnreadableModelError`, `UsageError` or `UnsafeModelError`.
    """

    name: str
    description: str
    recognises: Callable[[bytes, str], bool]
    load: Callable[[Path, InputSize], Network]
