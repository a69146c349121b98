"""What the codes of a quantiser stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsv_cli.model.graph import Graph, Node, UnknownValueError

Array = NDArray[np.float64]
BITS = {f"{sign}int{bits}": (bits, not sign) for sign in ("", "u") for bits in (2, 4, 8, 16)}
"""Bits of the types whose steps are all alike, and whether they are signed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """A code q stands for the real number scale (q - zero).

    Attributes:
        scale: positive and finite, [] for all entries, or [n] along an axis.
        zero: likewise; whole numbers.
        axis: from 0; None where there is one scale for all entries.
    """

    scale: Array
    zero: Array
    axis: int | None = None

    def __eq__(self, other: object) -> bool:
        """Whether all codes stand for the same numbers."""
        if not isinstance(other, Grid):
            return NotImplemented
        same = np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)
        return same and self.axis == other.axis

    __hash__ = None  # type: ignore[assignment]

    def real(self, code: float, rank: int) -> Array:
        """What a code stands for, as it broadcasts to a tensor; exact for float32 scales and few bits.

        Args:
            code: a whole number.
            rank: how many axes the tensor has.
        """
        return self.along(self.scale * (code - self.zero), rank)

    def along(self, values: Array, rank: int) -> Array:
        """Numbers of this grid, [] or [n], as they broadcast to a tensor of so many axes."""
        if self.axis is None:
            return values
        return values.reshape(*(1,) * self.axis, -1, *(1,) * (rank - self.axis - 1))

    def error(self, sizes: tuple[int, ...]) -> float:
        """The largest that sqrt(sum_i scale_i^2) over all entries i may be, before it is rounded up.

        Args:
            sizes: of the tensor.
        """
        if self.axis is None:
            return float(self.scale) * math.sqrt(math.prod(sizes))
        others = math.prod(size for axis, size in enumerate(sizes) if axis != self.axis)
        return math.hypot(*self.scale.tolist()) * math.sqrt(others)


@dataclass(frozen=True, kw_only=True)
class Dynamic:
    """The same with a scale and a zero point that the network computes from its input.

    Attributes:
        scale, zero: the tensors.
    """

    scale: str
    zero: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Codes as an operator takes them: three tensors, and the axis of scales where there may be several."""

    codes: str
    scale: str
    zero: str
    axis: int | None = None

    @classmethod
    def at(cls, node: Node, index: int) -> Stored:
        """The inputs from an index on; no zero point is 0."""
        return cls(codes=node.input(index), scale=node.input(index + 1), zero=node.input(index + 2))


@dataclass(frozen=True, kw_only=True, eq=False)
class Code:
    """A tensor of whole numbers, and what it stands for.

    Attributes:
        real: the tensor of real numbers.
        grid: how both belong together.
    """

    real: str
    grid: Grid | Dynamic


def grid_of(graph: Graph, scale: str, zero: str, axis: int | None, sizes: tuple[int, ...]) -> Grid | None:
    """The grid that constants give; None for others, and where these do not fit.

    Args:
        graph: with the constants.
        scale, zero: their names; no zero point is 0.
        axis: of several scales; None where there must be one.
        sizes: of what is quantised.
    """
    scales, zeros = (constant(graph, name, max(sizes, default=1)) for name in (scale, zero))
    if scales is None or (zeros is None and zero):
        return None
    zeros = np.zeros(()) if zeros is None else zeros
    if scales.size == 1 and zeros.size == 1:
        scales, zeros, axis = scales.reshape(()), zeros.reshape(()), None
    elif axis is None or not -len(sizes) <= axis < len(sizes):
        return None
    else:
        axis %= len(sizes)
        if scales.shape != sizes[axis : axis + 1] or zeros.size not in (1, scales.size):
            return None
        zeros = np.broadcast_to(zeros.ravel(), scales.shape)
    valid = (scales > 0).all() and np.isfinite(scales).all() and np.isfinite(zeros).all()
    return Grid(scale=scales, zero=zeros, axis=axis) if valid else None


def constant(graph: Graph, name: str, most: int) -> Array | None:
    """A constant of at most so many numbers, float64; None for another tensor."""
    read = graph.reader(name) if name else None
    count = math.prod(size or 0 for size in graph.shapes.get(name, (0,)))
    if read is None or not 0 < count <= most:
        return None
    try:
        return np.asarray(read(), np.float64)
    except (UnknownValueError, TypeError, ValueError):
        return None
