"""Constants that are computed from others when they are read, with a bound on what rounding does to them.

Among them are what linear maps make of each other, and of a constant level of each of their input channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli import limits
from convsv_cli.numerics.rounding import UP_MANY, gamma, margin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convsv_cli.lipschitz.fold.affine import Affine
    from convsv_cli.model.graph import Constant

    Array = NDArray[np.float64]

FEW = margin(7)  # of a factor, its product and a sum: more than the roundings of any of them
CHEAP, GROWTH = 2**18, 4  # entries of a product that cost little, or so many times those of its factors
IMAGE = 32  # bytes for each entry of an image, while it is computed
ENTRY, LEVEL = 8, 20 * limits.OBJECT  # steps for each entry and each level of a computation
TINY = 2.0**-1022  # more than what underflow takes


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounded:
    """Values, and an upper bound of the Frobenius norm of their distance from those in real arithmetic."""

    values: Array
    error: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Weight:
    """Float64 values that are computed anew each time they are read; nothing is kept.

    Attributes:
        shape: of the values.
        compute: gives them.
        depth: of the computation; each level is a stack frame.
    """

    shape: tuple[int, ...]
    compute: Callable[[], Rounded]
    depth: int = 0

    @classmethod
    def of(cls, constant: Constant) -> Weight:
        """A constant of a graph: one of the file is what it is, one that was computed keeps its error."""
        if isinstance(constant.read, Weight):
            return constant.read
        return cls(
            shape=constant.shape, compute=lambda: Rounded(values=np.asarray(constant.read(), np.float64))
        )

    def __call__(self) -> Array:
        """The values.

        Raises:
            LimitError: the model's steps are used up.
        """
        return self._computed().values

    def error(self) -> float:
        """Bound of the Frobenius norm of the values' error; infinite or NaN where that is beyond 1e308.

        Raises:
            LimitError: the model's steps are used up.
        """
        return self._computed().error

    def _computed(self) -> Rounded:
        steps = (1 + self.depth) * (LEVEL + ENTRY * math.prod(self.shape))
        limits.spend(steps, "the weight of what was folded")
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite then is no kernel
            return self.compute()

    def arranged(self, shape: tuple[int, ...], arrange: Callable[[Array], Array]) -> Weight:
        """The same entries in another order, as an array of that shape."""

        def compute() -> Rounded:
            old = self.compute()
            return Rounded(values=arrange(old.values), error=old.error)

        return Weight(shape=shape, compute=compute, depth=self.depth + 1)

    def scaled(self, factors: Array) -> Weight:
        """Times factors that are right to a few units in the last place; both are broadcast."""
        shape = np.broadcast_shapes(self.shape, factors.shape)
        copies = math.sqrt(math.prod(shape) / max(1, math.prod(self.shape)))

        def compute() -> Rounded:
            old = self.compute()
            values = old.values * factors
            largest = float(np.abs(factors).max(initial=0.0))
            error = copies * largest * old.error + FEW * _frobenius(values) + _underflow(values)
            return Rounded(values=values, error=error * UP_MANY)

        return Weight(shape=shape, compute=compute, depth=self.depth + 1)

    def plus(self, other: Weight | Array) -> Weight:
        """The sum, broadcast."""
        right = other if isinstance(other, Weight) else fixed(other)
        shape = np.broadcast_shapes(self.shape, right.shape)
        copies = [math.sqrt(math.prod(shape) / max(1, math.prod(w.shape))) for w in (self, right)]

        def compute() -> Rounded:
            a, b = self.compute(), right.compute()
            values = a.values + b.values
            error = copies[0] * a.error + copies[1] * b.error + FEW * _frobenius(values)
            return Rounded(values=values, error=error * UP_MANY)

        return Weight(shape=shape, compute=compute, depth=max(self.depth, right.depth) + 1)


def fixed(values: Array) -> Weight:
    """A few values that are at hand."""
    return Weight(shape=values.shape, compute=lambda: Rounded(values=values))


def product(
    left: Weight,
    right: Weight,
    shape: tuple[int, ...],
    multiply: Callable[[Array, Array], Array],
    *,
    terms: int,
    repeats: int = 1,
) -> Weight:
    """A bilinear map whose entries are sums of `terms` products.

    Such sums are those of a product of matrices A, with the entries of `left`, and B, with those of `right`,
    each at most `repeats` times. |AB - fl(AB)| <= gamma_n |A||B| (Higham, Accuracy and Stability of Numerical
    Algorithms, 2nd ed., section 3.5).
    """

    def compute() -> Rounded:
        limits.spend(terms * math.prod(shape) / 8, "a product of what was folded")
        a, b = left.compute(), right.compute()
        sizes = _frobenius(a.values), _frobenius(b.values)
        inherited = sizes[0] * b.error + a.error * sizes[1] + a.error * b.error
        error = math.sqrt(repeats) * (inherited + gamma(terms + 2) * sizes[0] * sizes[1])
        values = multiply(a.values, b.values)
        return Rounded(values=values, error=(error + terms * _underflow(values)) * UP_MANY)

    return Weight(shape=shape, compute=compute, depth=max(left.depth, right.depth) + 1)


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
    """[1, c_out, *outputs] of a zero-padded convolution at a size; None where that or memory is too small.

    Output p sees tap k where 0 <= p * stride + k * dilation - padding < size, on each axis.
    """
    kernel, geometry = affine.kernel_shape, affine.geometry
    ends = zip(geometry.padding[: len(kernel)], geometry.padding[len(kernel) :], strict=True)
    axes = [*zip(size, kernel, geometry.stride, geometry.dilation, ends, strict=True)]
    outputs = tuple(_outputs(*axis) for axis in axes)
    groups, c_out, c_in = affine.weight.shape[:3]
    if 0 in outputs or not limits.fits(IMAGE * groups * c_out * math.prod(outputs)):
        return None
    seen = [_seen(*axis) for axis in axes]

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
    outputs = _outputs(size, taps, stride, dilation, pads)
    positions = stride * np.arange(outputs)[:, None] + dilation * np.arange(taps) - pads[0]
    return ((positions >= 0) & (positions < size)).astype(np.float64)


def _outputs(size: int, taps: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
    return max(0, (size + sum(pads) - dilation * (taps - 1) - 1) // stride + 1)


def _frobenius(values: Array) -> float:
    return float(np.linalg.norm(values.ravel())) * UP_MANY


def _underflow(values: Array) -> float:
    return TINY * math.sqrt(values.size)
