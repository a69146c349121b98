"""What variables of TorchScript are while its code is followed.

Numbers, texts, None, lists, tuples and dictionaries are themselves; modules are the records of the pickle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from convsv_cli import limits
from convsv_cli.loaders.checkpoint.values import Record
from convsv_cli.loaders.torchscript.tree import UnfollowedError

LARGEST = 2**63
LONGEST = 10_000
"""Characters of a text."""
Value = Any


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor.

    Attributes:
        name: in the program; empty where it is a number that no operator has been given yet.
        meta: its shape, strides, type and which other ones share its entries; it has no values.
        number: what it is, where it is one number that no input changes.
    """

    name: str
    meta: torch.Tensor
    number: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple(self.meta.shape)

    def shares(self) -> int:
        """Equal for tensors that share their entries."""
        return storage_of(self.meta)


def storage_of(meta: torch.Tensor) -> int:
    """Equal for tensors that share their entries."""
    return int(meta.untyped_storage()._cdata)  # noqa: SLF001  (there is no other name of a storage)


class Kept(list[Value]):
    """A list of the file: what changes it is seen by whoever calls the module next."""


class KeptPairs(dict[Value, Value]):
    """A dictionary, likewise."""


@dataclass(frozen=True, slots=True)
class Path:
    """A name with dots that no variable has, such as "torch.nn"."""

    text: str


@dataclass(slots=True, eq=False)
class Made:
    """An object that the code itself makes, such as what stops the recording of gradients."""

    path: str
    attributes: dict[str, Value] = field(default_factory=dict)


def counted(value: Value) -> Value:
    """A result, as long as it is no more than networks need.

    Raises:
        ValueError: it is longer, or larger.
        LimitError: it is a long list.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise ValueError("a number that no integer of torch is")
    if isinstance(value, str) and len(value) > LONGEST:
        raise ValueError("a long text")
    if isinstance(value, list | tuple | dict):
        limits.spend(limits.OBJECT * len(value), "the lists of TorchScript")
    return value


def tensors_in(value: Value) -> list[Tensor]:
    """The tensors that a value is, or holds.

    Raises:
        UnfollowedError: it holds an object, of which nothing says what is taken of it.
    """
    found, waiting = list[Tensor](), [value]
    while waiting:
        limits.spend(limits.OBJECT, "the tensors of TorchScript")
        now = waiting.pop()
        if isinstance(now, Tensor):
            found.append(now)
        elif isinstance(now, list | tuple):
            waiting += reversed(now)
        elif isinstance(now, dict):
            waiting += reversed(now.values())
        elif isinstance(now, Made | Record):
            raise UnfollowedError("forward returns an object")
    return found
