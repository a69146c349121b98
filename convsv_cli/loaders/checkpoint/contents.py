"""What a checkpoint file holds: tensors are checked before anything is allocated, and read when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.checkpoint.values import ITEM_BYTES, Tensor
from convsv_cli.loaders.loader import StoredTensor, repeats
from convsv_cli.loaders.mapped import mapped, strided
from convsv_cli.model.home import Place, plain

MAX_EXTENT = 1 << 62


class Source(Protocol):
    """What tensors are in, wherever that is.

    Attributes:
        value: whatever holds them.
    """

    @property
    def value(self) -> Any: ...  # noqa: D102

    def stored(self, tensors: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
        """Tensors with their values behind `read`."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Bytes of a file, uncompressed."""

    start: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The value of a file's pickle, with the storages that its tensors refer to.

    Attributes:
        value: of the pickle.
        path: of the file.
        spans: where each storage is, by key.
        big_endian: byte order of the storages.
    """

    value: Any
    path: Path
    spans: Mapping[str, Span]
    big_endian: bool = False

    def stored(self, tensors: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
        """Tensors with their values behind `read`, which maps only their part of the file.

        Raises:
            UnsafeModelError: one claims values that its storage, or the file, does not have; entries may
            share values, as those of expanded and unfolded tensors do.
            UnreadableModelError: its storage is missing.
        """
        return {name: self._stored(name, tensor) for name, tensor in tensors.items()}

    def _stored(self, name: str, tensor: Tensor) -> StoredTensor:
        _check_shape(name, tensor)
        if tensor.made is not None and not tensor.unusable:
            made = tensor.made([self._stored(name, part) for part in tensor.parts])
            return replace(made, usage=tensor.usage)
        first, count, stored = (0, 0, 0) if tensor.unusable else self._checked(name, tensor)
        return StoredTensor(
            shape=tensor.shape,
            dtype=tensor.dtype,
            read=lambda: self._values(tensor, first, count),
            unusable=tensor.unusable or repeats(tensor.shape, stored),
            identity=(tensor.storage, tensor.offset, tensor.stride) if count else None,
            usage=tensor.usage,
            home=lambda: plain(self._place(tensor, first)),
        )

    def _place(self, tensor: Tensor, first: int) -> Place:
        return Place(
            shape=tensor.shape,
            dtype=tensor.dtype,
            file=self.path,
            start=first,
            stride=tensor.stride,
            swapped=self.big_endian,
        )

    def _checked(self, name: str, tensor: Tensor) -> tuple[int, int, int]:
        """Where its first value is in the file, how many from there on it needs, and how many are stored."""
        storage = tensor.storage
        item = ITEM_BYTES.get(tensor.dtype)
        if storage is None or item is None:
            raise UnreadableModelError(f"the tensor {name!r} is of an unknown type ({tensor.dtype})")
        span = self.spans.get(storage.key)
        if span is None:
            raise UnreadableModelError(f"the values of {name!r} are missing from the file")
        own = ITEM_BYTES[storage.dtype] if storage.dtype else 1
        extent = _extent(tensor)
        if storage.size < 0 or storage.size * own > span.length:
            raise UnsafeModelError(f"the storage of {name!r} claims more bytes than the file has for it")
        if (tensor.offset + extent) * item > storage.size * own or tensor.offset < 0:
            raise UnsafeModelError(f"the tensor {name!r} claims more values than its storage has")
        return span.start + tensor.offset * item, extent, storage.size * own // item

    def _values(self, tensor: Tensor, first: int, count: int) -> torch.Tensor:
        if tensor.unusable:
            raise UnreadableModelError("a tensor without values was read")
        dtype: torch.dtype = getattr(torch, tensor.dtype)
        if not count:
            return torch.zeros(tensor.shape, dtype=dtype)
        flat = mapped(self.path, first, count, dtype, swapped=self.big_endian)
        return strided(flat, tensor.shape, tensor.stride)


def _extent(tensor: Tensor) -> int:
    """Elements from the first to the last one, both included."""
    if 0 in tensor.shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))


def _check_shape(name: str, tensor: Tensor) -> None:
    sizes = (*tensor.shape, *tensor.stride)
    lengths_differ = tensor.storage is not None and len(tensor.shape) != len(tensor.stride)
    if lengths_differ or any(not 0 <= n < MAX_EXTENT for n in sizes):
        raise UnsafeModelError(f"the tensor {name!r} has an impossible shape")
