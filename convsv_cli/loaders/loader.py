"""The descriptor of a file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.model.network import InputSize, Network

if TYPE_CHECKING:
    from convsv_cli.loaders.named_tensors import NamedTensors


def alone(_path: Path) -> tuple[str, ...]:
    """The parts of a model in a single file."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A file format that convsv reads.

    Attributes:
        name: what to call it; the `Network.format` that it gives, unless that is its parts'.
        suffixes: usual endings of such files, lower case.
        description: one line for `--help` and error messages, with the usual file endings.
        recognises: whether a file that begins with these bytes (4 KiB at most) and ends in this
            suffix (lower case, with its dot) is of this format.
        load: read it; raises `UnreadableModelError`, `UsageError` or `UnsafeModelError`.
        parts: names of the further files that a model is in, relative to its folder, which are not looked at;
            raises `UnreadableModelError` or `UnsafeModelError`.
        tensors: the named tensors of a format that holds nothing else, with the same errors; None for others.
    """

    name: str
    suffixes: tuple[str, ...]
    description: str
    recognises: Callable[[bytes, str], bool]
    load: Callable[[Path, InputSize], Network]
    parts: Callable[[Path], tuple[str, ...]] = alone
    tensors: Callable[[Path], NamedTensors] | None = None
