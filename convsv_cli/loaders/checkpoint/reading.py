"""A checkpoint file to a `Network`."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import torch

from convsv_cli.errors import UnreadableModelError, UsageError
from convsv_cli.loaders.checkpoint.archive import STATE_DICT_HINT, unpickle
from convsv_cli.loaders.checkpoint.unwrap import unwrap
from convsv_cli.loaders.effective import effective
from convsv_cli.loaders.state_dict import StoredTensor, layers
from convsv_cli.network import InputSize, Network


def read(path: Path, input_size: InputSize) -> Network:
    """The layers of the state dict in a checkpoint.

    Raises:
        UnreadableModelError: see `archive.unpickle`; or there are no weights in it.
        UsageError: named input shapes, which a state dict cannot have.
    """
    if input_size.shapes:
        raise UsageError("a state dict has no named inputs", where=str(path), hint="use --input-size")
    checkpoint = unpickle(path)
    tensors, notes = unwrap(checkpoint)
    found = layers(effective({name: _stored(tensor) for name, tensor in tensors.items()}), input_size)
    if not found:
        raise UnreadableModelError(
            f"no weights found in this {type(checkpoint).__name__}", where=str(path), hint=STATE_DICT_HINT
        )
    return Network(path=str(path), format="checkpoint", files=(path.name,), layers=found, notes=notes)


def tensors_of(path: Path) -> dict[str, StoredTensor]:
    """The named tensors of the network in a checkpoint, as they are stored.

    Raises:
        UnreadableModelError: see `archive.unpickle`.
    """
    tensors, _ = unwrap(unpickle(path))
    return {name: _stored(tensor) for name, tensor in tensors.items()}


def _stored(tensor: torch.Tensor) -> StoredTensor:
    unusable = _unusable(tensor)
    return StoredTensor(
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
        read=tensor.detach,
        unusable=unusable,
        identity=None if unusable else _identity(tensor),
    )


def _unusable(tensor: torch.Tensor) -> str:
    if tensor.is_quantized:
        return "quantised weights, which convsv does not read yet"
    if tensor.layout is not torch.strided:
        return "sparse weights, which convsv does not read yet"
    if tensor.is_meta:
        return "a tensor on the meta device: it has no values"
    return ""


def _identity(tensor: torch.Tensor) -> Hashable | None:
    """Where the values lie in memory; None for a tensor without any."""
    if not tensor.numel():
        return None
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.stride()
