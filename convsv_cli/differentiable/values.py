"""What an operator is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch

from convsv_cli.model.graph import Node

T = TypeVar("T")
MOST = 2**26
"""Entries of all tensors of one sample together; more would not fit into memory."""


class UndifferentiableError(Exception):
    """There is no gradient; the reason, in words."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """A node and its inputs, None for an optional one that is left out."""

    node: Node
    inputs: tuple[torch.Tensor | None, ...]

    def __getitem__(self, index: int) -> torch.Tensor:
        """An input that must be there."""
        value = self.optional(index)
        if value is None:
            raise UndifferentiableError(f"{self.node.op} {self.node.name!r} lacks its input {index}")
        return value

    def optional(self, index: int) -> torch.Tensor | None:
        """An input, or None."""
        return self.inputs[index] if index < len(self.inputs) else None

    def attribute(self, name: str, default: T) -> T:
        """The node's attribute; the default where it is absent."""
        return self.node.attribute(name, default)

    def numbers(self, index: int) -> tuple[int, ...] | None:
        """Whole numbers, of an input; None where it is left out."""
        value = self.optional(index)
        return None if value is None else tuple(value.flatten().tolist())
