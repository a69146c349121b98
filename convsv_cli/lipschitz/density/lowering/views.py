"""How tensors of a graph show fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class NoRowError(Exception):
    """No step that convsv knows does what the node does."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How a tensor of the graph shows a field.

    Attributes:
        field: its name.
        last: channels are along the last axis, and all other axes count copies; else channels are along axis
            1, copies along axis 0, positions along the others.
        flat: channels and positions are one axis, in row-major order.
        cropped: it is zero outside the window.
    """

    field: str
    last: bool = False
    flat: bool = False
    cropped: bool = True

    @property
    def spatial(self) -> bool:
        """Whether it has an axis for channels, and one for each axis of the window."""
        return not (self.last or self.flat)

    def channel_axis(self, rank: int) -> int:
        """Of a tensor with so many axes that is not flat."""
        return rank - 1 if self.last else 1


def known(sizes: Sequence[int | None]) -> tuple[int, ...]:
    """Sizes that are all known.

    Raises:
        NoRowError: one is not.
    """
    found = tuple(size for size in sizes if size is not None)
    if len(found) != len(sizes):
        raise NoRowError
    return found
