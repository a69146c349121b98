"""LRN: each entry is divided by a power of the energy of its neighbouring channels."""

from __future__ import annotations

import math

import numpy as np

from convsv_cli.digits import short
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError
from convsv_cli.numerics.intervals import Range, outward_range
from convsv_cli.numerics.rounding import UP_MANY, times

ALPHA = float(np.float32(1e-4))  # the default
TINY = 1e-300  # more than what underflows


def divided_by_neighbours(operation: Operation) -> float:
    """Upper bound for y_i = x_i / S_i^b, S_i = k + a sum x_j^2 over a window of m channels, a = alpha/size.

    The Jacobian has S_i^-b (1 - 2 b p_i) on its diagonal, p_i = a x_i^2 / S_i, and -2 a b x_i x_j S_i^(-b-1)
    for the others of the window. With r_i = a sum x_j^2 / S_i over these, S_i = k/(1 - p_i - r_i). For a, b
    >= 0 and k > 0:

    * the diagonal is at most k^-b: |1 - 2 b p| (1 - p)^b <= 1, as 2 b p (1 - p)^b <= 2 (b/(b+1))^(b+1) < 1;
    * the rest of row i has the norm 2 b S_i^-b sqrt(p_i r_i) <= k^-b b q (1 - q)^b with q = p_i + r_i, which
      is at most k^-b t with t = (b/(b+1))^(b+1), at q = 1/(b+1);
    * rows of m - 1 other entries, of which each column has m - 1 too, have together at most the norm
      sqrt(m - 1) times the largest (Cauchy-Schwarz, row by row).

    So the norm is at most k^-b (1 + sqrt(m - 1) t), and at least k^-b (at x = 0). With a = 0 it is k^-b.
    """
    rate, power, largest = _coefficients(operation)
    spread = 0.0
    if rate > 0 and power > 0:
        spread = math.sqrt(_neighbours(operation)) * (power / (power + 1)) ** (power + 1)
    return times(largest * (1 + spread) * UP_MANY, operation.input(0).lipschitz)


def _coefficients(operation: Operation) -> tuple[float, float, float]:
    """a, b and k^-b."""
    rate = operation.attribute("alpha", ALPHA)
    power, bias = operation.attribute("beta", 0.75), operation.attribute("bias", 1.0)
    with np.errstate(all="ignore"):
        largest = float(np.power(bias, -power)) if bias > 0 else math.inf
    if not (rate >= 0 and power >= 0 and math.isfinite(rate + power + largest)):
        raise UnboundedError(
            f"alpha {short(rate)}, beta {short(power)}, bias {short(bias)}:"
            " it may divide by what is near zero"
        )
    return rate, power, max(largest, TINY)


def _neighbours(operation: Operation) -> int:
    """M - 1."""
    size = operation.attribute("size", 0)
    if size < 1:
        raise UnboundedError("it has no window: the attribute `size` is missing")
    shape = operation.input(0).shape
    channels = shape[1] if shape is not None and len(shape) > 1 else None
    return (size if channels is None else max(1, min(size, channels))) - 1


def _divided_range(operation: Operation) -> Range:
    """Entries keep their sign, and grow by k^-b at most."""
    _, _, largest = _coefficients(operation)
    source = operation.input(0).range
    return outward_range(min(0.0, source.lower) * largest, max(0.0, source.upper) * largest)


RULES = {"LRN": Rule(lipschitz=divided_by_neighbours, range=_divided_range)}
