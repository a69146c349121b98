"""How far runtimes may be from real arithmetic, so that a claim holds for all of them.

What is assumed of a runtime, format by format:

* **Sums of products** (linear maps, convolutions, averages) are computed in float32, in any order and
  grouping, with or without fused multiply-add. TF32 and sums in 16 bits are not covered, nor are convolutions
  by other means: Winograd's algorithm, Fourier transforms, Strassen's products.
* **Storing**: results are rounded to the nearest number of the format, before a bias is added, after it, or
  both; weights are, too, where the file's have more digits.
* **Underflow** is gradual, or float32 numbers below the smallest normal one count as 0, whether operands or
  results. A number of float16 loses no more than half of the smallest one.
* **Overflow**: where something may exceed the format, there is no claim: the error is infinite.
* **Activations** that are not piecewise linear are right to `ULPS` units of float32, relative to their
  `growth`, and stored at most `STORED` times until they are done. The functions of which they are made are
  right to 2 ulps (expf, tanhf, erff, log1pf: CUDA C++ Programming Guide, "Mathematical Functions"; glibc
  manual, "Errors in Math Functions"), or to 1 (SLEEF's u10, in PyTorch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convsv_cli.model.graph import Node
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF_32, UP_MANY, gamma

SMALLEST_32 = 2.0**-126
"""The smallest normal number of float32: more than what is lost where a result or an operand counts as 0."""
LARGEST_32 = (2 - 2.0**-23) * 2.0**127
ULPS = 16
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
        largest: its largest number.
    """

    name: str
    unit: float
    lost: float
    largest: float

    @property
    def real(self) -> bool:
        """Whether there are no errors."""
        return self.unit == 0

    def products(self, terms: int, magnitude: Tensor, *, operands: float, normalized: bool = False) -> Tensor:
        """Of `W a + b`: gamma_(n+2) (|W| |a| + |b|), and a little for underflow.

        In any order, a product is rounded once as such and at most n times as a part of sums; once more is
        for weights of more digits than float32 has (Higham, section 3.1). In 16 bits, there are `STORED`
        roundings to the format besides. For an average, give its entries as terms and the average of
        absolute values.

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
            lost = stored * (1 + operands) ** normalized * self.lost
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
            operands: the largest absolute value of its constants.
        """
        if self.real:
            return torch.zeros_like(magnitude)
        lost = 4 * roundings * (1 + operands) * self.lost
        error = (gamma(roundings, self.unit) * magnitude + lost) * UP_MANY
        return _claimed(error, (magnitude + error) * UP_MANY > self.largest)

    def computed(self, size: Tensor) -> Tensor:
        """Of an activation that is not piecewise linear.

        Args:
            size: c0 + c1 |x|, as `growth` says; any shape, that of the result.
        """
        if self.real:
            return torch.zeros_like(size)
        error = ULPS * UNIT_ROUNDOFF_32 * size + 4 * SMALLEST_32 * (1 + size)
        if self.unit > UNIT_ROUNDOFF_32:
            error = error + gamma(STORED, self.unit) * (size + error) + STORED * self.lost
        return _claimed(error * UP_MANY, (size + error) * UP_MANY > self.largest)


def _claimed(error: Tensor, beyond: Tensor) -> Tensor:
    """Infinite where there is no claim."""
    return torch.where(beyond | error.isnan(), torch.inf, error)


REAL = Arithmetic(name="real", unit=0.0, lost=0.0, largest=torch.inf)
FLOAT32 = Arithmetic(name="float32", unit=UNIT_ROUNDOFF_32, lost=SMALLEST_32, largest=LARGEST_32)
FLOAT16 = Arithmetic(name="float16", unit=2.0**-11, lost=2.0**-25, largest=65504.0)
BFLOAT16 = Arithmetic(name="bfloat16", unit=2.0**-8, lost=SMALLEST_32, largest=(2 - 2.0**-7) * 2.0**127)
ARITHMETICS: Mapping[str, Arithmetic] = {each.name: each for each in (REAL, FLOAT32, FLOAT16, BFLOAT16)}


def growth(node: Node) -> tuple[float, float] | None:
    """(c0, c1) with |f(x)| <= c0 + c1 |x|, to which the error of an activation is relative; None for unknown.

    A gate is right to some units, and the product with what it gates is, too. Where Elu and its like subtract
    1, the error is relative to that; where an argument is rounded, x f'(x) is no larger than this either.

    Args:
        node: an element-wise one.
    """
    found = GROWTH.get(node.op)
    return found(node) if found is not None else None


def _elu(node: Node) -> tuple[float, float]:
    return abs(_number(node, "alpha", 1.0)), 1.0


def _selu(node: Node) -> tuple[float, float]:
    scale = abs(_number(node, "gamma", 1.0507011))
    return scale * abs(_number(node, "alpha", 1.6732633)), scale


def _hard_sigmoid(node: Node) -> tuple[float, float]:
    """Its affine function, even where it is clipped."""
    return 1 + abs(_number(node, "beta", 0.5)), abs(_number(node, "alpha", 0.2))


def _number(node: Node, name: str, default: float) -> float:
    value = node.attribute(name, default)
    return float(value) if isinstance(value, int | float) else torch.inf


def _always(c0: float, c1: float) -> Callable[[Node], tuple[float, float]]:
    return lambda _node: (c0, c1)


GROWTH: Mapping[str, Callable[[Node], tuple[float, float]]] = {
    **dict.fromkeys(("Sigmoid", "Tanh", "Erf", "Softsign"), _always(1.0, 0.0)),
    **dict.fromkeys(("Gelu", "Swish", "Mish", "HardSwish"), _always(0.0, 1.0)),
    "Softplus": _always(1.0, 1.0),
    "Elu": _elu,
    "Celu": _elu,
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
}
"""By operator; what has no sum or product (Relu, Clip, Abs, Max, MaxPool) is exact, and not among these."""
