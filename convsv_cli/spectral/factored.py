r"""The norms of a weight that is a product of small factors, by those of a smaller kernel: it is not formed.

Let W = L K, tap by tap, with L [m, p] and K [p, c, *k]. Whatever norm of the layer is asked for, at a
frequency, with padding, of an unfolding, it is |(L (x) I) X| for some X made of K alone, since L acts on
channels only. With L = Q R + E and |Q* Q - I| <= d,

    sqrt(1 - d) |(R (x) I) X| - |E| |X| <= |(L (x) I) X| <= sqrt(1 + d) |(R (x) I) X| + |E| |X|,

and R K is a kernel with p outputs instead of m. Q and R are as a computed QR factorization has them; nothing
is taken for granted of it, as d and |E| are bounded after the fact, from Q* Q - I and L - Q R computed and
what rounding does to these (Higham, section 3.5: gamma_n |A| |B| entry by entry). |X| is at most the sum over
all taps of |K_t|_F (see `taps_norm`). The same holds for the Frobenius norm.

The norm of a Kronecker product is the product of the norms, at each frequency, and on whole inputs.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import torch

from convsv_cli import limits
from convsv_cli.model.factored import ENTRY, Factored, Product, frobenius_size, taps_norm
from convsv_cli.numerics.rounding import gamma, round_down, round_up
from convsv_cli.report import Interval
from convsv_cli.spectral.matrix_norm import matrix_norm

REDUCING = "the factors of an update"
COPIES = 6
"""Of both factors, while they are reduced."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a norm of a weight is, by that of a smaller kernel: `low n - error <= norm <= high n + error`.

    Attributes:
        low, high: factors, of which the latter may be infinite.
        error: what is added.
    """

    low: float = 1.0
    high: float = 1.0
    error: float = 0.0

    def around(self, interval: Interval) -> Interval:
        """An interval of the weight's norm, from one of the kernel's."""
        upper = round_up(_up(self.high, interval.upper) + self.error)
        lower = round_down(_down(self.low, interval.lower) - self.error)
        return Interval(lower=min(max(0.0, lower), upper), upper=upper)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    """A smaller kernel, and what its norms say of a weight.

    Attributes:
        kernel: float64 [p, c, *k].
        norm: of spectral norms of all kinds.
        frobenius: of the Frobenius norm.
    """

    kernel: torch.Tensor
    norm: Frame
    frobenius: Frame


def reduced(weight: Factored) -> Reduced:
    """The smaller kernel of a weight whose factors are all finite; O(m p^2 + p^2 c k) for a product.

    Raises:
        LimitError: it takes more than the model may.
    """
    limits.hold(8 * COPIES * sum(map(torch.numel, weight.factors)), REDUCING)
    *outer, (kernel, last) = [_reduced(part) for part in weight.parts]
    spectral = frobenius = _power(abs(weight.scale), weight.exponent)
    for matrix, frame in outer:
        norm, size = matrix_norm(matrix[None]), _frobenius(matrix)
        spectral = _multiplied(spectral, frame.around(norm))
        frobenius = _multiplied(frobenius, frame.around(size))
    return Reduced(kernel=kernel, norm=_scaled(last, spectral), frobenius=_scaled(last, frobenius))


def frobenius_norm(found: Reduced) -> Interval:
    """The Frobenius norm of the weight."""
    return found.frobenius.around(_frobenius(found.kernel))


def _reduced(part: Product) -> tuple[torch.Tensor, Frame]:
    """The kernel with as few outputs as the left factor has columns, unless the product has fewer entries."""
    left, kernel = part.left, part.kernel
    if left is None:
        return kernel, Frame(error=round_up(part.error + gamma(ENTRY) * taps_norm(kernel)))
    size, (m, p) = taps_norm(kernel), left.shape
    norm = round_up(frobenius_size(left))
    lost = part.error * norm
    if m <= p:
        limits.hold(8 * 2 * m * kernel[0].numel(), REDUCING)
        return torch.tensordot(left, kernel, 1), Frame(error=round_up(lost + gamma(p + ENTRY) * norm * size))
    q, r = torch.linalg.qr(left)
    lengths = round_up(float(torch.linalg.vector_norm(q))), round_up(float(torch.linalg.vector_norm(r)))
    gram = q.mT @ q
    gram.diagonal().sub_(1)
    skew = float(torch.linalg.vector_norm(gram)) + gamma(m + 2) * lengths[0] ** 2
    rest = float(torch.linalg.vector_norm(left - q @ r)) + gamma(p + 2) * (lengths[0] * lengths[1] + norm)
    rounded = gamma(p + ENTRY) * lengths[1] * math.sqrt(1 + skew) + gamma(ENTRY) * norm
    error = round_up((round_up(rest) + rounded) * size + lost)
    low = round_down(math.sqrt(max(0.0, 1 - round_up(skew))))
    return torch.tensordot(r, kernel, 1), Frame(low=low, high=round_up(math.sqrt(1 + skew)), error=error)


def _frobenius(kernel: torch.Tensor) -> Interval:
    """Of float64 entries of about 1 or less, or all zero."""
    size, lost = float(torch.linalg.vector_norm(kernel)), gamma(kernel.numel() + 4)
    return Interval(lower=max(0.0, size * (1 - lost)), upper=frobenius_size(kernel))


def _scaled(frame: Frame, by: Interval) -> Frame:
    error = _up(frame.error, by.upper)
    return Frame(low=_down(frame.low, by.lower), high=_up(frame.high, by.upper), error=error)


def _multiplied(one: Interval, other: Interval) -> Interval:
    return Interval(lower=_down(one.lower, other.lower), upper=_up(one.upper, other.upper))


def _up(one: float, other: float) -> float:
    """The product, rounded up; what is nothing stays that, and what underflows is not nothing."""
    return max(round_up(one * other), sys.float_info.min) if one and other else 0.0


def _down(one: float, other: float) -> float:
    """The product, rounded down to a number that is finite, and not so small that it is no more to scale."""
    found = round_down(one * other) if one and other else 0.0
    return min(found, sys.float_info.max) if found > sys.float_info.min else 0.0


def _power(scale: float, exponent: int) -> Interval:
    """`scale 2^exponent`, which may be beyond all floats on either side."""
    try:
        power = math.ldexp(scale, exponent)
    except OverflowError:
        power = math.inf
    return Interval(lower=_down(power, 1.0), upper=_up(max(power, sys.float_info.min), 1.0) if scale else 0.0)
