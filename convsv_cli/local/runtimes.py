"""What runtimes may be off at a step, by what kind of step it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsv_cli.local.arithmetic import NORMALIZED, Arithmetic
from convsv_cli.local.pieces import Coefficient
from convsv_cli.numerics.rounding import UP_MANY


@dataclass(frozen=True, kw_only=True, eq=False)
class Load:
    """What an affine step has to add up.

    Attributes:
        size: the sum of the absolute values of all terms, [n, *shape].
        most: the largest absolute value of all that the step takes.
        terms: of an entry of its output, at most; those that are 0 do not round.
        folded: of the linear map before, into whose weights runtimes may fold the step: n times the largest
            absolute value that it takes, for sums of n products; 0 where there is none.
        weights: the largest absolute value of that map's weights.
    """

    size: Tensor
    most: float
    terms: int
    folded: float = 0.0
    weights: float = 0.0


OffAffine = Callable[[Arithmetic, Load], Tensor]
"""How far off each entry of the output of an affine step may be, [n, *shape]."""
OffElementwise = Callable[[Arithmetic, Tensor, Tensor], Tensor]
"""As `OffAffine`, of a function of numbers; the tensors are the ends of the arguments, [n, *shape]."""
FOLDED = NORMALIZED + 2
"""Further roundings of each weight, where a runtime folds what follows into it."""


def products(largest: float, *, factored: bool = False) -> OffAffine:
    """A sum of products with weights, and a bias.

    Args:
        largest: absolute value of the weights.
        factored: whether the sum and the bias are multiplied by further factors, as of Gemm, after which the
            weights are those of the whole map; all factors are among those that `largest` is of.
    """
    return lambda arithmetic, load: arithmetic.products(
        load.terms + FOLDED, load.size, operands=max(largest, load.most), normalized=factored
    )


def interpolated(largest: float, weights: float, taps: int) -> OffAffine:
    """A sum of products with weights that the runtime computes itself.

    Args:
        largest: absolute value of the weights.
        weights: by how much those of an entry of the result may be off in all, taken absolutely.
        taps: how many these are, with those that ought to be 0.
    """
    sums = products(largest)

    def off(arithmetic: Arithmetic, load: Load) -> Tensor:
        wrong = 0.0 if arithmetic.real else weights * load.most * UP_MANY
        return (sums(arithmetic, replace(load, size=load.size + wrong, terms=taps)) + wrong) * UP_MANY

    return off


def normalised(largest: float, constants: Tensor, variance: Tensor) -> OffAffine:
    """A batch normalization.

    What the variance and what is added to it lose by underflow, at most a share p <= 1/2 of them together,
    changes 1 / sqrt by a share of at most p.

    Args:
        largest: absolute value of its factors and means.
        constants: the sum of the absolute values of what does not depend on the input.
        variance: with what is added to it.
    """

    def off(arithmetic: Arithmetic, load: Load) -> Tensor:
        size = load.size + constants
        error = arithmetic.products(1, size, operands=max(largest, load.most), normalized=True)
        share = 3 * arithmetic.lost / variance
        share = torch.where(2 * share <= 1, share, torch.inf)
        return error + size * share * UP_MANY + _folded(arithmetic, load, largest)

    return off


def formula(roundings: int, largest: float = 1.0, constants: Tensor | float = 0.0) -> OffAffine:
    """A sum of a few numbers.

    Args:
        roundings: how many.
        largest: absolute value of its constants.
        constants: the sum of the absolute values of those that are added.
    """
    return lambda arithmetic, load: arithmetic.rounded(roundings, load.size + constants, operands=largest)


def scaled(factors: Tensor, divisors: Tensor | None = None) -> OffAffine:
    """Products with constants, or quotients.

    A quotient may be a product with the reciprocal as it is stored. Nothing is claimed of divisors that may
    count as 0, or of those that overflow.

    Args:
        factors: any shape.
        divisors: the reciprocals of the factors, where these are in the file; None for products.
    """
    largest, least = float(factors.abs().max()), _least(factors)

    def off(arithmetic: Arithmetic, load: Load) -> Tensor:
        operands = largest if least >= arithmetic.smallest else max(largest, load.most)
        roundings = 2 if divisors is None else 3
        error = arithmetic.rounded(roundings, load.size, operands=operands)
        if divisors is not None:
            unknown = _least(divisors) < arithmetic.smallest
            unknown |= float(divisors.abs().max()) > arithmetic.largest
            error = torch.full_like(error, math.inf) if unknown else error
        return error + _folded(arithmetic, load, largest)

    return off


def kept(constants: Tensor) -> OffAffine:
    """Constants that are only moved or compared, so that nothing is off but as what they are stored.

    Args:
        constants: float64, that fit the output.
    """
    return lambda arithmetic, load: arithmetic.stored(constants) + torch.zeros_like(load.size)


def levels(constants: Tensor) -> OffElementwise:
    """A function whose only constants are values that it takes, and places where it does.

    Args:
        constants: float64 [m].
    """

    def off(arithmetic: Arithmetic, lower: Tensor, _upper: Tensor) -> Tensor:
        return torch.full_like(lower, float(arithmetic.stored(constants).max()))

    return off


def line(slopes: Sequence[Coefficient], intercepts: Sequence[Coefficient]) -> OffElementwise:
    """A function of numbers, each piece of which is a product, and maybe a sum.

    Args:
        slopes, intercepts: of the pieces.
    """
    every, added = (
        torch.cat([torch.as_tensor(each, dtype=torch.float64).flatten().abs() for each in coefficients])
        for coefficients in (slopes, intercepts)
    )
    slope, least, intercept = float(every.max()), _least(every), float(added.max())

    def off(arithmetic: Arithmetic, lower: Tensor, upper: Tensor) -> Tensor:
        most = lower.abs().maximum(upper.abs())
        size = (slope * most + intercept) * (1 + 1e-15)
        operands = max(slope, intercept)
        if least < arithmetic.smallest:
            operands = max(operands, float(most.max()))
        return arithmetic.rounded(2, size, operands=operands)

    return off


def _least(values: Tensor) -> float:
    """The least absolute value that is not 0; infinite for none."""
    sizes = values.abs()
    return float(torch.where(sizes > 0, sizes, math.inf).min())


def _folded(arithmetic: Arithmetic, load: Load, largest: float) -> float:
    """What weights lose by underflow when they are multiplied by factors, of which `largest` is one."""
    if load.weights * largest * UP_MANY > arithmetic.largest:
        return math.inf
    return 2 * arithmetic.lost * load.folded
