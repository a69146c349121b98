"""The kernel of two linear maps, one after the other, at most one of which has spatial extent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.fold.weight import Weight, product

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CHEAP = 2**18
GROWTH = 4


def composed(second: Weight, first: Weight) -> Weight | None:
    """[1, c_out, c_in, *k] of [1, c_out, c, *k2] and [1, c, c_in, *k1], of which one has taps of size 1.

    None where the kernel has so many more entries than the two that its norm would cost too much: a
    bottleneck is better left as it is.
    """
    c_out, middle = second.shape[1:3]
    c_in = first.shape[2]
    kernel = tuple(a * b for a, b in zip(second.shape[3:], first.shape[3:], strict=True))
    shape = (1, c_out, c_in, *kernel)
    entries = math.prod(shape)
    if entries > max(CHEAP, GROWTH * (math.prod(second.shape) + math.prod(first.shape))):
        return None

    def multiply(a: Array, b: Array) -> Array:
        """[o, m, taps2] and [m, i, taps1] to [o, taps2, i, taps1]."""
        left, right = a.reshape(c_out, middle, -1), b.reshape(middle, c_in, -1)
        return np.moveaxis(np.tensordot(left, right, axes=(1, 0)), 2, 1).reshape(shape)

    return product(second, first, shape, multiply, terms=middle)
