"""A checkpoint file to a `Network`."""

from __future__ import annotations

from pathlib import Path

from convsv_cli.errors import ConvsvError
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.legacy import read_legacy
from convsv_cli.loaders.checkpoint.script import is_script, script_tensors
from convsv_cli.loaders.checkpoint.unwrap import unwrap
from convsv_cli.loaders.checkpoint.zipped import PICKLE, STATE_DICT_HINT, archive_members, read_pickle
from convsv_cli.loaders.named_tensors import NamedTensors, network_of
from convsv_cli.loaders.state_dict import StoredTensor
from convsv_cli.loaders.zip_records import zip_records
from convsv_cli.model.network import InputSize, Network

ZIP = b"PK\x03\x04"


def read(path: Path, input_size: InputSize) -> Network:
    """The layers of the network in a checkpoint; nothing in the file is executed.

    Raises:
        UnreadableModelError: it is damaged, of another kind, or there are no weights in it.
        UnsafeModelError: it would run code elsewhere, or claims more than it holds.
        UsageError: named input shapes, which a state dict cannot have.
    """
    return network_of(path, input_size, located, STATE_DICT_HINT)


def tensors_of(path: Path) -> dict[str, StoredTensor]:
    """The named tensors of the network in a checkpoint, as they are stored.

    Raises:
        UnreadableModelError, UnsafeModelError: as `read`.
    """
    return located(path).tensors


def located(path: Path) -> NamedTensors:
    """What is in the file; errors, which are those of `read`, say which file they are about."""
    try:
        return _read(path)
    except ConvsvError as error:
        error.where = error.where or str(path)
        raise


def _read(path: Path) -> NamedTensors:
    with path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
    if not zipped:
        return _unwrapped(read_legacy(path))
    members = archive_members(zip_records(path))
    if is_script(members):
        tensors, notes = script_tensors(path, members)
        return NamedTensors(tensors=tensors, format="torchscript", notes=notes)
    return _unwrapped(read_pickle(path, members, PICKLE, "data"))


def _unwrapped(contents: Contents) -> NamedTensors:
    unwrapped = unwrap(contents.value)
    stored = {name: contents.storages.stored(name, tensor) for name, tensor in unwrapped.tensors.items()}
    kind = "pickled_module" if unwrapped.from_module else "checkpoint"
    return NamedTensors(
        tensors=stored, format=kind, notes=unwrapped.notes, left_out=unwrapped.left_out, trained=True
    )
