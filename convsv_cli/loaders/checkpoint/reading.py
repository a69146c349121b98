"""A checkpoint file to a `Network`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.loaders.checkpoint.contents import Contents
from convsv_cli.loaders.checkpoint.legacy import read_legacy
from convsv_cli.loaders.checkpoint.script import is_script, script_tensors
from convsv_cli.loaders.checkpoint.unwrap import unwrap
from convsv_cli.loaders.checkpoint.zipped import PICKLE, STATE_DICT_HINT, archive_members, read_pickle
from convsv_cli.loaders.effective import effective
from convsv_cli.loaders.state_dict import StoredTensor, layers
from convsv_cli.loaders.zip_records import zip_records
from convsv_cli.network import InputSize, Network

ZIP = b"PK\x03\x04"


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The tensors of a network in a file, in which form, and what was left out."""

    tensors: dict[str, StoredTensor]
    format: str
    notes: tuple[str, ...] = ()


def read(path: Path, input_size: InputSize) -> Network:
    """The layers of the network in a checkpoint; nothing in the file is executed.

    Raises:
        UnreadableModelError: it is damaged, of another kind, or there are no weights in it.
        UnsafeModelError: it would run code elsewhere, or claims more than it holds.
        UsageError: named input shapes, which a state dict cannot have.
    """
    if input_size.shapes:
        raise UsageError("a state dict has no named inputs", where=str(path), hint="use --input-size")
    with _located(path):
        found = _read(path)
        rows = layers(effective(found.tensors), input_size)
        if not rows:
            raise UnreadableModelError("no weights found in this file", hint=STATE_DICT_HINT)
    return Network(path=str(path), format=found.format, files=(path.name,), layers=rows, notes=found.notes)


def tensors_of(path: Path) -> dict[str, StoredTensor]:
    """The named tensors of the network in a checkpoint, as they are stored.

    Raises:
        UnreadableModelError, UnsafeModelError: as `read`.
    """
    with _located(path):
        return _read(path).tensors


@contextmanager
def _located(path: Path) -> Iterator[None]:
    """Errors inside say which file they are about."""
    try:
        yield
    except ConvsvError as error:
        error.where = error.where or str(path)
        raise


def _read(path: Path) -> _Found:
    with path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
    if not zipped:
        return _unwrapped(read_legacy(path))
    members = archive_members(zip_records(path))
    if is_script(members):
        tensors, notes = script_tensors(path, members)
        return _Found(tensors=tensors, format="torchscript", notes=notes)
    return _unwrapped(read_pickle(path, members, PICKLE, "data"))


def _unwrapped(contents: Contents) -> _Found:
    unwrapped = unwrap(contents.value)
    stored = {name: contents.storages.stored(name, tensor) for name, tensor in unwrapped.tensors.items()}
    kind = "pickled_module" if unwrapped.from_module else "checkpoint"
    return _Found(tensors=stored, format=kind, notes=unwrapped.notes)
