"""The normalization that comes before a network, outside its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsv_cli.errors import UsageError
from convsv_cli.report import CertifySettings


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """(x - mean) / std, with one entry or one a channel; empty for none of it.

    Attributes:
        done: the data have been through it.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    done: bool = False

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Samples [n, channels, ..] as the network takes them."""
        if self.done or not (self.mean or self.std):
            return x
        mean, std = (_per_channel(values, x) for values in (self.mean or (0.0,), self.std or (1.0,)))
        return np.asarray((x - mean) / std, dtype=x.dtype)

    @property
    def largest_scale(self) -> float:
        """By how much it lengthens differences at most."""
        return 1 / min(self.std, default=1.0)

    def scales(self, channels: int) -> NDArray[np.float64]:
        """How long a difference of 1 in each channel becomes: [channels]."""
        return np.broadcast_to(1 / np.array(self.std or (1.0,)), (channels,))


def normalization_of(settings: CertifySettings, shape: tuple[int, ...]) -> Normalization:
    """As asked for.

    Raises:
        UsageError: it does not fit samples of this shape.
    """
    channels = shape[0] if shape else 1
    for name, values in (("mean", settings.input_mean), ("std", settings.input_std)):
        if len(values) not in (0, 1, channels):
            own = f"{channels} channel{'' if channels == 1 else 's'}"
            raise UsageError(f"--input-{name} has {len(values)} entries, and the input {own}")
    return Normalization(mean=settings.input_mean, std=settings.input_std, done=settings.normalized)


def _per_channel(values: tuple[float, ...], x: NDArray[Any]) -> NDArray[np.float64]:
    return np.array(values).reshape(-1, *(1 for _ in x.shape[2:]))
