"""Piecewise linear functions of one number, element by element, and activations between two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from convsv_cli.numerics.rounding import UNIT_ROUNDOFF

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


def hinge(left: Coefficient, right: Coefficient = 1.0) -> Enclosure:
    """`left t` below 0 and `right t` above: Relu, LeakyRelu, PRelu (a slope per channel), Abs.

    Args:
        left, right: slopes of any sign, of one number or a shape that broadcasts to [batch, *shape].
    """
    return exactly(Piecewise(knots=(0.0,), slopes=(left, right), intercepts=(0.0, 0.0)))


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


def hard_sigmoid(alpha: float, beta: float) -> Enclosure:
    """max(0, min(1, alpha t + beta)), but for what rounding of its knots moves.

    Let k be the float next to a knot, so that |k - knot| <= 3 u |knot|. Between the two, the line that should
    end there is off by at most alpha |k - knot| <= 3 u (|beta| + 1), as alpha knot is -beta or 1 - beta. The
    shift of 8 u (|beta| + 1) also covers the rounding of the intercepts.

    Args:
        alpha, beta: finite numbers.
    """
    if alpha == 0:
        return exactly(Piecewise(knots=(), slopes=(0.0,), intercepts=(min(max(beta, 0.0), 1.0),)))
    first, last = (0.0, 1.0) if alpha > 0 else (1.0, 0.0)
    knots = tuple((level - beta) / alpha for level in (first, last))
    shift = 8 * UNIT_ROUNDOFF * (abs(beta) + 1.0)
    lower, upper = (
        Piecewise(knots=knots, slopes=(0.0, alpha, 0.0), intercepts=(first + s, beta + s, last + s))
        for s in (-shift, shift)
    )
    return Enclosure(lower=lower, upper=upper)
