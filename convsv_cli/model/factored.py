"""Weights known by small factors, which are far less than what they multiply to: the updates of adapters."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import torch

from convsv_cli.numerics.rounding import gamma, round_up

ENTRY = 4
"""Roundings of the entries of both factors together, and of the number that these are multiplied by."""
UNDERFLOW = 2.0**-500
"""More than squares that underflow make a norm of less than 2^40 entries too small by."""
LARGEST_STEP = 1000
"""Exponent of a power of two whose inverse is a normal float64, too."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """A kernel [m, c, *k] that is `left @ kernel`, tap by tap.

    Attributes:
        left: float64 [m, p], each entry right to two roundings; None for the identity.
        kernel: float64 [p, c, *k], each entry right to two roundings and `error`.
        error: bound of the sum over all taps of the Frobenius norm of what the kernel lacks besides.
    """

    left: torch.Tensor | None = None
    kernel: torch.Tensor
    error: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what it is the product to."""
        first = self.kernel if self.left is None else self.left
        return (first.shape[0], *self.kernel.shape[1:])

    @property
    def factors(self) -> tuple[torch.Tensor, ...]:
        """What is multiplied."""
        return (self.kernel,) if self.left is None else (self.left, self.kernel)

    @property
    def sizes(self) -> tuple[float, float]:
        """The sum over all taps of the Frobenius norms of its factors multiplied, and of what `dense` lacks.

        A sum of p products is off by gamma_p of the sum of their moduli (Higham, section 3.5).
        """
        terms, norm = 1, 1.0
        if self.left is not None:
            terms, norm = self.left.shape[1], frobenius_size(self.left)
        size = norm * taps_norm(self.kernel)
        return round_up(size), round_up(gamma(terms + ENTRY) * size + self.error * norm)

    def dense(self) -> torch.Tensor:
        """The product, formed."""
        return self.kernel if self.left is None else torch.tensordot(self.left, self.kernel, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Factored:
    """A weight: a number times the Kronecker product of kernels, of which only the last has several taps.

    Attributes:
        scale: the number; finite.
        exponent: of a power of two that it is multiplied by, too.
        parts: one or more.
        shape: of the weight, which the product is reshaped to.
    """

    scale: float = 1.0
    exponent: int = 0
    parts: tuple[Product, ...]
    shape: tuple[int, ...]

    @property
    def factors(self) -> Iterator[torch.Tensor]:
        """All tensors in it."""
        for part in self.parts:
            yield from part.factors

    @property
    def lost(self) -> float:
        """A bound of the Frobenius norm of what `dense` lacks, summed over the taps of the factors.

        Norms of Kronecker products are products of norms. Each factor is within its norm and what it lacks:
        (s + e)(t + f) - s t is at most e (t + f) + (s + e) f.
        """
        size, error = 1.0, 0.0
        for part in self.parts:
            own, lacks = part.sizes
            error = round_up(error * (own + lacks) + (size + error) * lacks)
            size = round_up(size * own)
        error = round_up(error + gamma(len(self.parts) + ENTRY) * (size + error)) * abs(self.scale)
        try:
            return round_up(math.ldexp(error, self.exponent)) + sys.float_info.min  # for what underflows
        except OverflowError:
            return math.inf

    def dense(self) -> torch.Tensor:
        """The weight, formed: float64 of its shape."""
        whole = reduce(_kronecker, (part.dense() for part in self.parts))
        return shifted(whole * self.scale, self.exponent).reshape(self.shape)


def factored(
    *parts: Product, exponent: int = 0, scale: float = 1.0, shape: tuple[int, ...] | None = None
) -> Factored:
    """The Kronecker product of these times a number; of the shape that this has, unless another is given."""
    channels = (math.prod(part.shape[axis] for part in parts) for axis in (0, 1))
    return Factored(
        scale=scale, exponent=exponent, parts=parts, shape=shape or (*channels, *parts[-1].shape[2:])
    )


def formed(weight: torch.Tensor, lost: float) -> Factored:
    """A weight that is formed, float64 [m, c, *k], and off by at most `lost` in the Frobenius norm.

    Over n taps, norms whose squares add up to that of the whole add up to sqrt(n) times it, or less.
    """
    kernel, exponent = normal(weight)
    try:
        error = math.ldexp(lost * math.sqrt(math.prod(weight.shape[2:])), -exponent)
    except OverflowError:
        error = math.inf
    return factored(Product(kernel=kernel, error=round_up(error)), exponent=exponent)


def normal(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The tensor in float64, divided by a power of two so that its largest entry is about 1; the exponent.

    Then no product of several over- or underflows. That is exact but for entries that are nothing beside it.
    """
    double = tensor.to(torch.float64)
    largest = float(double.abs().max()) if double.numel() else 0.0
    exponent = math.frexp(largest)[1] if math.isfinite(largest) else 0
    return shifted(double, -exponent), exponent


def shifted(tensor: torch.Tensor, exponent: int) -> torch.Tensor:
    """The tensor times a power of two, in steps that are float64 numbers themselves."""
    while exponent:
        step = max(-LARGEST_STEP, min(exponent, LARGEST_STEP))
        tensor, exponent = tensor * math.ldexp(1.0, step), exponent - step
    return tensor


def contracted(middle: torch.Tensor, right: torch.Tensor) -> Product:
    """The kernel [p, c, *k] of [p, q, *k] and [q, c]: sum_b middle[a, b, t] right[b, i].

    A sum of q products is off by gamma_q of the sum of their moduli, and |A| |B| has no larger Frobenius norm
    than those of A and B multiplied (Higham, section 3.5).
    """
    kernel = torch.tensordot(middle.movedim(1, -1), right, 1).movedim(-1, 1)
    lost = gamma(len(right) + 2) * taps_norm(middle) * float(torch.linalg.vector_norm(right))
    return Product(kernel=kernel, error=round_up(lost))


def hadamard(one: Product, other: Product) -> Product:
    """The product of two such kernels entry by entry: its factors have a column for each pair of columns.

    (sum_a L[o,a] K[a,x]) (sum_b M[o,b] N[b,x]) = sum_ab (L[o,a] M[o,b]) (K[a,x] N[b,x]): Khatri-Rao products
    of the factors, whose entries are rounded once. What K lacks, D, adds D[a,x] N[b,x], and the squares of
    these add up to sum_x |D[:,x]|^2 |N[:,x]|^2 <= |D|_F^2 |N|_F^2 in each tap, or less.
    """
    if one.left is None or other.left is None:
        raise ValueError("the factors on the left are needed")
    left = (one.left[:, :, None] * other.left[:, None, :]).flatten(1)
    kernel = (one.kernel[:, None] * other.kernel[None]).flatten(0, 1)
    sizes = taps_norm(one.kernel), taps_norm(other.kernel)
    lost = one.error * sizes[1] + sizes[0] * other.error + one.error * other.error
    return Product(left=left, kernel=kernel, error=round_up(lost))


def taps_norm(kernel: torch.Tensor) -> float:
    """The sum over all taps of the Frobenius norms of [p, c, *k], rounded up.

    No norm of the convolution is larger: at a frequency, with any padding, of an unfolding.
    """
    norms = torch.linalg.vector_norm(kernel.flatten(2) if kernel.ndim > 2 else kernel[..., None], dim=(0, 1))
    least = UNDERFLOW * norms.numel() if kernel.any() else 0.0
    return (float(norms.sum()) + least) * (1 + gamma(kernel.numel() + 4))


def frobenius_size(tensor: torch.Tensor) -> float:
    """The Frobenius norm of a tensor, rounded up: 0 for zeros alone."""
    size = float(torch.linalg.vector_norm(tensor)) * (1 + gamma(tensor.numel() + 4))
    return size + UNDERFLOW if size or tensor.any() else 0.0


def _kronecker(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """[a, b] and [c, d, *k] to [a c, b d, *k]."""
    outer = outer.reshape(outer.shape[0], 1, outer.shape[1], 1, *(1,) * (inner.ndim - 2))
    whole = outer * inner[None, :, None]
    return whole.flatten(0, 1).flatten(1, 2)
