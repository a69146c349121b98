"""What is said of all weights of a model in a file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.files import MAX_JSON, locate, locating, parse_json
from convsv_cli.remote.files import opened

NAMES = ("config.json", "quantize_config.json", "quant_config.json")
"""Files in which Hugging Face, AutoGPTQ and AutoAWQ say how a model was quantised."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is said beside a model file.

    Attributes:
        path: of the model file; None where nothing is beside it.
        files: names of the files that were read, once they were.
    """

    path: Path | None
    files: list[str] = field(default_factory=list)

    @cached_property
    def said(self) -> Mapping[str, Any]:
        """How weights were quantised; empty where nothing says so.

        Raises:
            UnreadableModelError, UnsafeModelError: a file that would say so is damaged.
        """
        for name in NAMES:
            found = {} if self.path is None else _beside(self.path, name)
            inner = found.get("quantization_config", {} if name == NAMES[0] else found)
            if isinstance(inner, dict) and inner:
                self.files.append(name)
                return inner
        return {}


@locating
def _beside(path: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of that name, if it is there."""
    try:
        place = locate(path, name, "convsv")
    except UnreadableModelError:
        return {}
    with opened(path.parent / name if place.exists() else place) as file:
        found = parse_json(file.read(MAX_JSON + 1), name)
    return found if isinstance(found, dict) else {}
