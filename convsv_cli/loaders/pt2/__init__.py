"""Programs that torch.export saved: `.pt2`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.loaders.loader import Loader
from convsv_cli.model.network import InputSize, Network

if TYPE_CHECKING:
    from convsv_cli.loaders.named_tensors import NamedTensors

_FIRST_NAME = slice(30, 30 + 512)
_OWN_NAME = re.compile(
    rb"[^/\0]*/(?:data/(?:weights|constants|sample_inputs)/|models/|archive_(?:format|version))"
    rb"|serialized_(?:exported_program|state_dict|constants)\."
)


def _recognises(head: bytes, suffix: str) -> bool:
    """By the name of a zip file's first record; a zip file by the suffix too."""
    return head.startswith(b"PK\x03\x04") and (
        suffix == ".pt2" or _OWN_NAME.match(head[_FIRST_NAME]) is not None
    )


def _load(path: Path, input_size: InputSize) -> Network:
    from convsv_cli.loaders.pt2.reading import read

    return read(path, input_size)


def _tensors(path: Path) -> NamedTensors:
    from convsv_cli.loaders.named_tensors import NamedTensors
    from convsv_cli.loaders.pt2.reading import tensors_of

    return NamedTensors(tensors=tensors_of(path), format="pt2")


LOADER = Loader(
    name="pt2",
    suffixes=(".pt2",),
    description="programs of torch.export (.pt2)",
    recognises=_recognises,
    load=_load,
    tensors=_tensors,
)
