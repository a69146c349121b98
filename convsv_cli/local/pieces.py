"""Piecewise linear functions of one number, element by element, and activations between two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

Coefficient = float | torch.Tensor
"""One number for all elements, or a tensor that broadcasts to [batch, *shape] of the activations."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piecewise:
    """A line between each two neighbouring knots, and beyond the outer ones.

    Lines are kept, not values at knots, so that no rounding makes them another function. Where two lines do
    not quite meet, both count: minima and maxima are over closed pieces.

    Attributes:
        knots: K coefficients (shape above), ascending; two may be equal, or one infinite.
        slopes: K + 1 coefficients (shape above), finite.
        intercepts: K + 1 coefficients (shape above), finite: piece k is `slopes[k] t + intercepts[k]`.
    """

    knots: tuple[Coefficient, ...]
    slopes: tuple[Coefficient, ...]
    intercepts: tuple[Coefficient, ...]

    def __call__(self, t: torch.Tensor) -> torch.Tensor:
        """Its values, rounded.

        Args:
            t: [batch, *shape], or any shape that all coefficients broadcast to.
        """
        values = self.slopes[0] * t + self.intercepts[0]
        for knot, slope, intercept in zip(self.knots, self.slopes[1:], self.intercepts[1:], strict=True):
            values = torch.where(t > knot, slope * t + intercept, values)
        return values


@dataclass(frozen=True, kw_only=True, eq=False)
class Enclosure:
    """An activation phi with `lower <= phi <= upper` wherever it is said to be one.

    Attributes:
        lower, upper: the same object where phi itself is piecewise linear.
        slopes: two tensors that all slopes of phi lie between; None where they are those of the lines, or
            not known.
    """

    lower: Piecewise
    upper: Piecewise
    slopes: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def exact(self) -> bool:
        """Whether the activation itself is piecewise linear."""
        return self.lower is self.upper


def exactly(function: Piecewise) -> Enclosure:
    """An activation that is piecewise linear itself.

    Args:
        function: with lines that meet exactly.
    """
    return Enclosure(lower=function, upper=function)


def identity() -> Enclosure:
    """The number itself."""
    return exactly(Piecewise(knots=(), slopes=(1.0,), intercepts=(0.0,)))


def hinge(left: Coefficient) -> Enclosure:
    """`left t` below 0 and t above: Relu, LeakyRelu, PRelu (a slope per channel), Abs.

    Args:
        left: a slope of any sign, of one number or a shape that broadcasts to [batch, *shape].
    """
    return exactly(Piecewise(knots=(0.0,), slopes=(left, 1.0), intercepts=(0.0, 0.0)))


def relu() -> Enclosure:
    """max(t, 0)."""
    return hinge(0.0)


def absolute() -> Enclosure:
    """|t|."""
    return hinge(-1.0)


def clip(lower: float = -math.inf, upper: float = math.inf) -> Enclosure:
    """min(max(t, lower), upper), in this order: Clip, Relu6, HardTanh.

    Args:
        lower, upper: infinite for no limit; where `lower` is the larger, all is `upper`, as in ONNX.
    """
    if lower >= upper:
        return exactly(Piecewise(knots=(), slopes=(0.0,), intercepts=(upper,)))
    below = [(lower, 0.0, lower)] if lower > -math.inf else []
    above = [(upper, 0.0, upper)] if upper < math.inf else []
    slopes = (*(slope for _, slope, _ in below), 1.0, *(slope for _, slope, _ in above))
    intercepts = (*(level for _, _, level in below), 0.0, *(level for _, _, level in above))
    return exactly(
        Piecewise(knots=tuple(k for k, _, _ in below + above), slopes=slopes, intercepts=intercepts)
    )
