"""Images that nobody has brought to the scale, or into the order, that a network takes them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 255
FEW = 1000
"""Samples that are looked at, from all over the array: more would tell nothing new."""
BRIGHT, VECTOR = 128, 64
"""A vector is taken for an image where it has so many entries, and one of them is so large."""
SCALED = 2
"""What is scaled stays below; so do means and deviations of what is."""
UNSCALED = f"divide them by {LARGEST}; where the network takes 0 to {LARGEST}, say --input-range 0,{LARGEST}"


def spread(x: NDArray[Any]) -> NDArray[Any]:
    """Some of the samples [n, ..], evenly spaced: those that come first may be dark."""
    return x[:: -(-len(x) // FEW) or 1]


def are_pixels(x: NDArray[Any]) -> bool:
    """Whether samples [n, ..] are whole numbers from 0 to 255, some beyond what a scaled image has."""
    some = spread(x)
    if not some.size or x.ndim < 2 or (x.ndim == 2 and x.shape[1] < VECTOR):
        return False
    least = BRIGHT if x.ndim == 2 else SCALED
    return bool(some.min() >= 0 and least <= some.max() <= LARGEST and (some == np.rint(some)).all())


def otherwise_arranged(seen: Sequence[int], shape: Sequence[int]) -> str:
    """What to do with samples of one shape where another is taken; empty where nothing helps."""
    if (*seen[-1:], *seen[:-1]) == tuple(shape):
        axes = 0, len(seen), *range(1, len(seen))
    elif (*seen[1:], *seen[:1]) == tuple(shape):
        axes = 0, *range(2, len(seen) + 1), 1
    else:
        return ""
    return f"its channels are elsewhere: save x.transpose({', '.join(map(str, axes))})"
