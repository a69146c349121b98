"""How far runtimes may be from real arithmetic, so that a claim holds for all of them.

What is assumed of a runtime, format by format:

* **Sums of products** (linear maps, convolutions, averages) are computed in float32, in any order and
  grouping, with or without fused multiply-add. TF32 and sums in 16 bits are not covered, nor are convolutions
  by other means: Winograd's algorithm, Fourier transforms, Strassen's products.
* **Storing**: results are rounded to the nearest number of the format, before a bias is added, after it, or
  both; the network's input, weights and other constants are, too, where they have more digits.
* **Underflow** is gradual, or float32 numbers below the smallest normal one count as 0, whether operands or
  results. A number of float16 loses no more than half of the smallest one.
* **Overflow**: where something may exceed the format, there is no claim: the error is infinite.
* **Activations**: those that are piecewise linear are exact, but for slopes; of others, see `execution`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF_32, UP_MANY, gamma

SMALLEST_32 = 2.0**-126
"""The smallest normal number of float32: more than what is lost where a result or an operand counts as 0."""
LARGEST_32 = (2 - 2.0**-23) * 2.0**127
STORED = 3
"""Roundings to the format: of weights, the sum without its bias, and with it; of an activation's steps."""
NORMALIZED, STORED_AGAIN = 10, 4
"""Further roundings to float32 and to the format where a batch normalization follows."""


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """What a format's runtimes have in common.

    All errors are absolute and rounded up, and infinite where the format may overflow. Magnitudes are of what
    the runtime meets, not of what it should: they include the errors of what comes before.

    Attributes:
        name: of the format.
        unit: its unit roundoff; 0 for real arithmetic, in which nothing is off.
        lost: more than what underflow takes from a number that is stored.
        smallest: its smallest normal number; what is stored of those below is right to `lost` only.
        largest: its largest number.
        dtype: torch's type for it.
    """

    name: str
    unit: float
    lost: float
    smallest: float
    largest: float
    dtype: torch.dtype

    @property
    def real(self) -> bool:
        """Whether there are no errors."""
        return self.unit == 0

    def products(self, terms: int, magnitude: Tensor, *, operands: float, normalized: bool = False) -> Tensor:
        """Of `W a + b`: gamma_(n+2) (|W| |a| + |b|), and a little for underflow.

        In any order, a product is rounded once as such and at most n times as a part of sums; once more is
        for weights of more digits than float32 has (Higham, section 3.1). In 16 bits, there are `STORED`
        roundings to the format besides, and weights below the smallest normal number lose digits, or all of
        them. For an average, give its entries as terms and the average of absolute values.

        A batch normalization after it, A (z - mu) + B with A = s / sqrt(v + e), rounds no term more than
        `NORMALIZED` times more (v + e, the root, its reciprocal to 2 ulps, s, z - mu or mu A, the product,
        the sum), whether it is folded into the weights, computed as scale and shift, or step by step.

        Args:
            terms: n, the most products that are summed for one entry.
            magnitude: |W| |a| + |b|, rounded up; any shape, that of the result. Where normalized,
                |A| (|W| |a| + |b| + |mu|) + |B|.
            operands: the largest absolute value of weights and of a; where normalized, of A and z, too.
            normalized: whether the result is that of the batch normalization after it.
        """
        if self.real:
            return torch.zeros_like(magnitude)
        further, stored = (NORMALIZED, STORED + STORED_AGAIN) if normalized else (0, STORED)
        flushed = 4 * (terms + 2 + further) * (1 + operands) ** (1 + normalized) * SMALLEST_32
        error = gamma(terms + 2 + further, UNIT_ROUNDOFF_32) * magnitude + flushed
        if self.unit > UNIT_ROUNDOFF_32:
            lost = (stored + terms) * (1 + operands) ** (1 + normalized) * self.lost
            error = error + gamma(stored, self.unit) * (magnitude + error) + 2 * lost
        error = error * UP_MANY
        beyond = (magnitude + error) * UP_MANY > self.largest
        beyond |= (magnitude + error) * (terms * UP_MANY) > LARGEST_32  # an average, before it is divided
        return _claimed(error, beyond | (operands > self.largest))

    def rounded(self, roundings: int, magnitude: Tensor, *, operands: float = 1.0) -> Tensor:
        """Of a formula of that many operations: the sum of two tensors, a slope times a number.

        Args:
            roundings: how many.
            magnitude: the sum of the absolute values of its terms; any shape, that of the result.
            operands: the largest absolute value of its constants, and of what is multiplied by those that
                may be below the smallest normal number.
        """
        if self.real:
            return torch.zeros_like(magnitude)
        lost = 4 * roundings * (1 + operands) * self.lost
        error = (gamma(roundings, self.unit) * magnitude + lost) * UP_MANY
        beyond = (magnitude + error) * UP_MANY > self.largest
        return _claimed(error, beyond | (operands > self.largest))

    def holds(self, values: Tensor) -> Tensor:
        """Whether numbers are such of the format, and normal, so that nothing happens to them: bool.

        Args:
            values: float64, any shape.
        """
        normal = (values == 0) | (values.abs() >= self.smallest)
        return normal & (values.to(self.dtype).double() == values)

    def stored(self, values: Tensor) -> Tensor:
        """Of constants that are kept in the format.

        Args:
            values: float64, any shape.
        """
        return torch.where(self.holds(values), 0.0, self.rounded(1, values.abs()))


def _claimed(error: Tensor, beyond: Tensor) -> Tensor:
    """Infinite where there is no claim."""
    return torch.where(beyond | error.isnan(), torch.inf, error)


REAL = Arithmetic(name="real", unit=0.0, lost=0.0, smallest=0.0, largest=torch.inf, dtype=torch.float64)
FLOAT32 = Arithmetic(
    name="float32",
    unit=UNIT_ROUNDOFF_32,
    lost=SMALLEST_32,
    smallest=SMALLEST_32,
    largest=LARGEST_32,
    dtype=torch.float32,
)
FLOAT16 = Arithmetic(
    name="float16", unit=2.0**-11, lost=2.0**-25, smallest=2.0**-14, largest=65504.0, dtype=torch.float16
)
BFLOAT16 = Arithmetic(
    name="bfloat16",
    unit=2.0**-8,
    lost=SMALLEST_32,
    smallest=SMALLEST_32,
    largest=(2 - 2.0**-7) * 2.0**127,
    dtype=torch.bfloat16,
)
ARITHMETICS: Mapping[str, Arithmetic] = {each.name: each for each in (REAL, FLOAT32, FLOAT16, BFLOAT16)}
