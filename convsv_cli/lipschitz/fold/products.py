"""What linear maps make of each other, and of a constant level of each of their input channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.fold.weight import Weight, product

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convsv_cli.lipschitz.fold.affine import Affine

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


def together(*biases: Weight | None) -> Weight | None:
    """The sum of those that are there; None where there is none."""
    found = [bias for bias in biases if bias is not None]
    whole = found[0] if found else None
    for bias in found[1:]:
        whole = bias if whole is None else whole.plus(bias)
    return whole


def response(weight: Weight, level: Weight) -> Weight:
    """[.., c_out], far from all borders, of a level that broadcasts to [.., c_in].

    Args:
        weight: [groups, c_out / groups, c_in / groups, *k].
        level: of the channels, for each row where it has rows.
    """
    groups, c_out, c_in, *kernel = weight.shape
    rows = level.shape[:-1]

    def multiply(blocks: Array, levels: Array) -> Array:
        matrices = blocks.reshape(groups, c_out, c_in, -1).sum(-1)
        full = np.broadcast_to(levels, (*rows, groups * c_in)).reshape(-1, groups, c_in)
        result: Array = np.einsum("goi,rgi->rgo", matrices, full).reshape(*rows, groups * c_out)
        return result

    taps = math.prod(kernel)
    copies = groups * c_in // max(1, math.prod(level.shape[-1:]))
    return product(weight, level, (*rows, groups * c_out), multiply, terms=c_in * taps, repeats=taps * copies)


def bordered_response(affine: Affine, level: Weight, size: tuple[int, ...]) -> Weight | None:
    """[1, c_out, *outputs] of a zero-padded convolution, at an input size; None where it does not fit.

    Output p sees tap k where 0 <= p * stride + k * dilation - padding < size, on each axis.
    """
    kernel, geometry = affine.kernel_shape, affine.geometry
    ends = zip(geometry.padding[: len(kernel)], geometry.padding[len(kernel) :], strict=True)
    seen = [_seen(*axis) for axis in zip(size, kernel, geometry.stride, geometry.dilation, ends, strict=True)]
    outputs = tuple(len(matrix) for matrix in seen)
    if 0 in outputs:
        return None
    groups, c_out, c_in = affine.weight.shape[:3]

    def multiply(blocks: Array, levels: Array) -> Array:
        taps = np.einsum("goi...,gi->go...", blocks, levels.reshape(groups, c_in))
        image: Array = taps.reshape(groups * c_out, *kernel)
        for matrix in seen:
            image = np.tensordot(image, matrix, axes=(1, 1))  # that axis goes to the end
        return image[None]

    terms = c_in * math.prod(kernel)
    shape = (1, groups * c_out, *outputs)
    repeats = math.prod(kernel) * math.prod(outputs)
    return product(affine.weight, level, shape, multiply, terms=terms, repeats=repeats)


def _seen(size: int, taps: int, stride: int, dilation: int, pads: tuple[int, int]) -> Array:
    """Whether an output sees each tap's input, as [outputs, taps] of 0 and 1."""
    outputs = max(0, (size + sum(pads) - dilation * (taps - 1) - 1) // stride + 1)
    positions = stride * np.arange(outputs)[:, None] + dilation * np.arange(taps) - pads[0]
    return ((positions >= 0) & (positions < size)).astype(np.float64)
