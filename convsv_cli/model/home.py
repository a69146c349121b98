"""Where a weight is in its file, and what has to be there for a layer to multiply by another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

UNKNOWN = "convsv does not know how its values are stored"


class NoHomeError(Exception):
    """Other values cannot be stored in place of these; the reason, in words."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Values of a file.

    Attributes:
        shape, dtype: of the stored tensor; the latter as torch calls it, such as "float16".
        name: of a tensor embedded in an ONNX model; empty for values that have bytes of their own.
        file: which of the model's files these are in.
        start: position of the first value, in bytes.
        stride: between values along each axis, in values.
        swapped: whether their bytes are in the other order than this machine's.
    """

    shape: tuple[int, ...]
    dtype: str
    name: str = ""
    file: Path | None = None
    start: int = 0
    stride: tuple[int, ...] = ()
    swapped: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Home:
    """How a weight is stored.

    Attributes:
        places: of its parts.
        split: the weight, float64, as one tensor for each place, not rounded yet.
        join: what is read back, float64, of values as they are stored.
        positions: of the part of the only place, among all its values, int64; None for all, in their order.
    """

    places: tuple[Place, ...]
    split: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
    join: Callable[..., torch.Tensor]
    positions: torch.Tensor | None = None

    def stored(self, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What each place is to hold for this weight, float64, in the type that it stores."""
        import torch

        parts = zip(self.split(weight), self.places, strict=True)
        return tuple(part.to(getattr(torch, place.dtype)) for part, place in parts)

    def rounded(self, weight: torch.Tensor) -> torch.Tensor:
        """What is read, float64, once this weight is stored."""
        return self.join(*(part.double() for part in self.stored(weight)))


def homeless() -> Home:
    """The home of a weight of which none is known.

    Raises:
        NoHomeError: always.
    """
    raise NoHomeError(UNKNOWN)


def plain(place: Place) -> Home:
    """The home of a tensor that is stored as it is."""
    return Home(places=(place,), split=lambda weight: (weight,), join=lambda part: part)


def picked(home: Home, positions: torch.Tensor, factor: float) -> Home:
    """The home of a weight whose entries are some of a tensor's, times a factor.

    Args:
        home: of that tensor.
        positions: int64 [*shape of the weight]: of each entry among the tensor's, as if it were flat.
        factor: other than 0.

    Raises:
        NoHomeError: two entries are one in the tensor; or the tensor is no plain one.
    """
    if factor == 0 or len(home.places) != 1 or home.positions is not None:
        raise NoHomeError("its values are computed from those that are stored")
    if len(set(positions.flatten().tolist())) != positions.numel():
        raise NoHomeError("several of its entries are one in the file")
    return Home(
        places=home.places,
        split=lambda weight: (weight.flatten() / factor,),
        join=lambda part: part.reshape(positions.shape) * factor,
        positions=positions.flatten(),
    )
