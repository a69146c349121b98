"""Norms of the unfoldings of a kernel, each computed once."""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

from convsv_cli.kernels import Kernel
from convsv_cli.report import Interval
from convsv_cli.spectral.norms import matrix_norm

_NORMS: WeakKeyDictionary[Kernel, dict[tuple[int, ...], Interval]] = WeakKeyDictionary()


def unfolding_norm(kernel: Kernel, rows: tuple[int, ...]) -> Interval:
    """The largest spectral norm over the blocks of `kernel.unfolding(rows)`.

    Remembered for as long as the kernel lives: axes of one tap make unfoldings coincide, down to the
    matrix of a linear layer, which every calculator asks for.
    """
    rows = tuple(axis for axis in rows if kernel.spatial[axis] > 1)
    known = _NORMS.setdefault(kernel, {})
    if rows not in known:
        known[rows] = matrix_norm(kernel.unfolding(rows))
    return known[rows]


def unfolding_work(kernel: Kernel, rows: tuple[int, ...]) -> int:
    """Multiplications for the Gram matrix and its factorization."""
    blocks, c_out, c_in = kernel.weight.shape[:3]
    height = c_out * math.prod(kernel.spatial[axis] for axis in rows)
    width = c_out * c_in * math.prod(kernel.spatial) // height
    return blocks * min(height, width) ** 2 * (height + width)
