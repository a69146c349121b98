"""What runtimes may be off at a step, by what kind of step it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from convsv_cli.local.arithmetic import NORMALIZED, Arithmetic


@dataclass(frozen=True, kw_only=True, eq=False)
class Load:
    """What an affine step has to add up.

    Attributes:
        size: the sum of the absolute values of all terms, [n, *shape].
        most: the largest absolute value of all that the step takes.
        terms: of an entry of its output, at most; those that are 0 do not round.
    """

    size: Tensor
    most: float
    terms: int


OffAffine = Callable[[Arithmetic, Load], Tensor]
"""How far off each entry of the output of an affine step may be, [n, *shape]."""
OffElementwise = Callable[[Arithmetic, Tensor, Tensor], Tensor]
"""As `OffAffine`, of a function of numbers; the tensors are the ends of the arguments, [n, *shape]."""
FOLDED = NORMALIZED + 2
"""Further roundings of each weight, where a runtime folds what follows into it."""


def products(largest: float) -> OffAffine:
    """A sum of products with weights, and a bias.

    Args:
        largest: absolute value of the weights.
    """
    return lambda arithmetic, load: arithmetic.products(
        load.terms + FOLDED, load.size, operands=max(largest, load.most)
    )


def normalised(largest: float, constants: Tensor) -> OffAffine:
    """A batch normalization.

    Args:
        largest: absolute value of its factors and means.
        constants: the sum of the absolute values of what does not depend on the input.
    """
    return lambda arithmetic, load: arithmetic.products(
        1, load.size + constants, operands=max(largest, load.most), normalized=True
    )


def formula(roundings: int, largest: float = 1.0, constants: Tensor | float = 0.0) -> OffAffine:
    """A formula of a few operations.

    Args:
        roundings: how many.
        largest: absolute value of its constants.
        constants: the sum of the absolute values of those that are added.
    """
    return lambda arithmetic, load: arithmetic.rounded(roundings, load.size + constants, operands=largest)


def line(slope: float, intercept: float) -> OffElementwise:
    """A function of numbers, each piece of which is a product, and maybe a sum.

    Args:
        slope, intercept: the largest absolute values.
    """

    def off(arithmetic: Arithmetic, lower: Tensor, upper: Tensor) -> Tensor:
        size = slope * lower.abs().maximum(upper.abs()) + intercept
        return arithmetic.rounded(2, size * (1 + 1e-15), operands=max(slope, intercept))

    return off
