"""Adapters as PEFT saves them: a configuration beside the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.adapters.config import Config, config_of
from convsv_cli.loaders.checkpoint import LOADER as CHECKPOINT
from convsv_cli.loaders.files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    MAX_JSON,
    first_to_recognise,
    locate,
    locating,
    parse_json,
)
from convsv_cli.loaders.loader import Loader, NamedTensors, state_dict
from convsv_cli.loaders.safetensors import LOADER as SAFETENSORS
from convsv_cli.remote.files import look_beside, opened

KINDS = (SAFETENSORS, CHECKPOINT)
HINT = "download or save the adapter again"


@locating
def _tensors(path: Path) -> NamedTensors:
    """The tensors of the weights beside a configuration.

    Raises:
        UnreadableModelError: it is no configuration; the weights are missing, or of another format.
        UnsafeModelError: the weights are outside the folder, or unsafe to read.
    """
    config = _config(path)
    (name,) = _parts(path)
    locate(path, name, "the configuration")
    kind = first_to_recognise(path.parent / name, KINDS)
    if kind is None or kind.tensors is None:
        raise UnreadableModelError(f"{name!r} is neither safetensors nor a checkpoint", hint=HINT)
    found = kind.tensors(path.parent / name)
    return replace(found, files=(name, *found.files), adapter=config)


@locating
def _parts(path: Path) -> tuple[str, ...]:
    """The weights: the first of the names that PEFT gives them of which there is a file."""
    for name in ADAPTER_WEIGHTS:
        look_beside(path, name)
        if (path.parent / name).exists():
            return (name,)
    names = " nor ".join(map(repr, ADAPTER_WEIGHTS))
    raise UnreadableModelError(f"there is neither {names} beside this configuration", hint=HINT)


def _config(path: Path) -> Config:
    with opened(path) as file:
        return config_of(parse_json(file.read(MAX_JSON + 1), "the configuration"))


LOADER = Loader(
    name="peft",
    suffixes=(ADAPTER_CONFIG,),
    description=f"adapters of PEFT ({ADAPTER_CONFIG})",
    signatures={
        ".json": rb'(?s)\s*\{.*"(?:peft_type|auto_mapping|base_model_name_or_path|alpha_pattern)"\s*:'
    },
    load=state_dict(_tensors, "pass an adapter that changes a layer"),
    parts=_parts,
    tensors=_tensors,
)
