"""Where tensors have their values in a file: checked before anything is allocated, read when asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.checkpoint.dtypes import ITEM_BYTES
from convsv_cli.loaders.checkpoint.values import Tensor
from convsv_cli.loaders.state_dict import StoredTensor

MAX_EXTENT = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Span:
    """Bytes of a file, uncompressed."""

    start: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Storages:
    """The storages of a file.

    Attributes:
        path: of the file.
        spans: where each storage is, by key.
        big_endian: byte order of the values.
    """

    path: Path
    spans: Mapping[str, Span]
    big_endian: bool = False

    def stored(self, name: str, tensor: Tensor) -> StoredTensor:
        """The tensor with its values behind `read`, which maps only their part of the file.

        Raises:
            UnsafeModelError: it claims values that its storage, or the file, does not have.
            UnreadableModelError: its storage is missing.
        """
        if tensor.unusable:
            _check_shape(name, tensor)
            return _stored(tensor, _no_values, None)
        first, count = self._checked(name, tensor)
        identity = (tensor.storage, tensor.offset, tensor.stride) if count else None
        return _stored(tensor, lambda: self._values(tensor, first, count), identity)

    def _checked(self, name: str, tensor: Tensor) -> tuple[int, int]:
        """The position of the first value in the file, and how many elements from there on are needed."""
        _check_shape(name, tensor)
        storage = tensor.storage
        item = ITEM_BYTES.get(tensor.dtype)
        if storage is None or item is None:
            raise UnreadableModelError(f"the tensor {name!r} is of an unknown type ({tensor.dtype})")
        span = self.spans.get(storage.key)
        if span is None:
            raise UnreadableModelError(f"the values of {name!r} are missing from the file")
        own = ITEM_BYTES[storage.dtype] if storage.dtype else 1
        extent = _extent(tensor)
        numel = math.prod(tensor.shape)
        if storage.size < 0 or storage.size * own > span.length:
            raise UnsafeModelError(f"the storage of {name!r} claims more bytes than the file has for it")
        if max(tensor.offset + extent, numel) * item > storage.size * own or tensor.offset < 0:
            raise UnsafeModelError(f"the tensor {name!r} claims more values than its storage has")
        return span.start + tensor.offset * item, extent

    def _values(self, tensor: Tensor, first: int, count: int) -> torch.Tensor:
        dtype: torch.dtype = getattr(torch, tensor.dtype)
        if not count:
            return torch.zeros(tensor.shape, dtype=dtype)
        item = ITEM_BYTES[tensor.dtype]
        mapped = np.memmap(self.path, np.uint8, "c", first, (count * item,))
        swapped = self.big_endian and item > 1
        flat = torch.from_numpy(mapped.reshape(-1, item)[:, ::-1].reshape(-1) if swapped else mapped)
        if flat.data_ptr() % item:
            flat = flat.clone()
        return torch.as_strided(flat.view(dtype), tensor.shape, tensor.stride)


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


def _stored(tensor: Tensor, read: Callable[[], torch.Tensor], identity: Hashable | None) -> StoredTensor:
    return StoredTensor(
        shape=tensor.shape,
        dtype=tensor.dtype,
        read=read,
        unusable=tensor.unusable,
        identity=identity,
        usage=tensor.usage,
    )


def _no_values() -> torch.Tensor:
    raise UnreadableModelError("a tensor without values was read")
