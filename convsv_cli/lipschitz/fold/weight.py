"""Constants that are computed from others when they are read, with a bound on what rounding does to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.numerics.rounding import UP_MANY, gamma, margin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convsv_cli.model.graph import Constant

    Array = NDArray[np.float64]

FEW = margin(7)  # of a factor, its product and a sum: more than the roundings of any of them
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
        """The values."""
        return self._computed().values

    def error(self) -> float:
        """Bound of the Frobenius norm of the values' error; infinite or NaN where that is beyond 1e308."""
        return self._computed().error

    def _computed(self) -> Rounded:
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
        a, b = left.compute(), right.compute()
        sizes = _frobenius(a.values), _frobenius(b.values)
        inherited = sizes[0] * b.error + a.error * sizes[1] + a.error * b.error
        error = math.sqrt(repeats) * (inherited + gamma(terms + 2) * sizes[0] * sizes[1])
        values = multiply(a.values, b.values)
        return Rounded(values=values, error=(error + terms * _underflow(values)) * UP_MANY)

    return Weight(shape=shape, compute=compute, depth=max(left.depth, right.depth) + 1)


def _frobenius(values: Array) -> float:
    return float(np.linalg.norm(values.ravel())) * UP_MANY


def _underflow(values: Array) -> float:
    return TINY * math.sqrt(values.size)
