"""Checkpoint files made by hand, with claims that torch.save would never make."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

KERNEL = bytes(4 * 2 * 2 * 3 * 3)


@dataclass(frozen=True)
class Claim:
    """A float tensor as a pickle describes it, true or not."""

    shape: tuple[int, ...] = (2, 2, 3, 3)
    stride: tuple[int, ...] = (18, 9, 3, 1)
    numel: int = 36
    offset: int = 0
    key: Any = "0"
    storage: type = torch.FloatStorage


@dataclass(frozen=True)
class _Reference:
    claim: Claim


class _Pickler(pickle._Pickler):
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, _Reference):
            claim = value.claim
            return ("storage", claim.storage, claim.key, "cpu", claim.numel)
        return None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Claim):
            arguments = (_Reference(value), value.offset, value.shape, value.stride, False, OrderedDict())
            self.save_reduce(torch._utils._rebuild_tensor_v2, arguments)
        else:
            super().save(value, save_persistent_id)


def pickled(value: Any) -> bytes:
    """The pickle of a value in which `Claim`s stand for tensors."""
    buffer = io.BytesIO()
    _Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


def archive(path: Path, data: bytes, storages: dict[str, bytes] | None = None, **more: bytes) -> Path:
    """A zip checkpoint with this pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("net/data.pkl", data)
        for key, content in ({"0": KERNEL} if storages is None else storages).items():
            file.writestr(f"net/data/{key}", content)
        for name, content in more.items():
            file.writestr(f"net/{name}", content)
    return path


def text(value: str) -> bytes:
    """The opcode that pushes a string."""
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def module_class(name: str = "torch.nn.modules.container Sequential") -> bytes:
    """The opcodes that push an empty object of a class."""
    module, _, cls = name.partition(" ")
    return f"c{module}\n{cls}\n)\x81".encode("latin-1")
