"""Second derivatives of functions of one number, enclosed over intervals, and kinks, where there are none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from convsv_cli.lipschitz.scalar.curves import Curve, Piece, curve, steps
from convsv_cli.lipschitz.scalar.expressions import Expression, jet
from convsv_cli.lipschitz.scalar.primitives import primitive
from convsv_cli.numerics.intervals import Array, Intervals, anything, exactly
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF

SIGMOID_TURN = math.log(2 + math.sqrt(3))  # sigmoid''' is 0
TANH_TURN = SIGMOID_TURN / 2


@dataclass(frozen=True, kw_only=True)
class Kink:
    """Where the slope of a function jumps.

    Attributes:
        at: the place, rounded.
        off: by how much it may be elsewhere.
    """

    at: float
    off: float


def curvatures(expression: Expression, x: Intervals) -> Intervals:
    """Holds f'' over each interval, wherever it exists; infinite for unknown.

    By the rules of differentiation, (f g)'' = f'' g + 2 f' g' + f g'' and P(u)'' = P''(u) u'^2 + P'(u) u''.

    Args:
        expression: the function.
        x: intervals of positive length, arrays [n].
    """
    with np.errstate(all="ignore"):
        return _curvature(expression, x)


def _curvature(part: Expression, x: Intervals) -> Intervals:
    if part.op == "x" or part.constant:
        return exactly(0.0, x)
    own = [_curvature(operand, x) for operand in part.operands]
    if part.op == "Add":
        return own[0] + own[1]
    jets = [jet(operand, x) for operand in part.operands]
    if part.op == "Mul":
        f, g = jets
        both = f.slope * g.slope
        return own[0] * g.value + (both + both) + f.value * own[1]
    (u,) = jets
    steep = u.slope.absolute()
    inner = primitive(part.op, *part.numbers).slope(u.value) * own[0]
    return _second(part.op, *part.numbers)(u.value) * (steep * steep) + inner


def kinks(expression: Expression) -> tuple[Kink, ...] | None:
    """Where the slope may jump; None where that is not known.

    Args:
        expression: the function.
    """
    found: list[Kink] = []
    for operand in expression.operands:
        inner = kinks(operand)
        if inner is None:
            return None
        found += inner
    if expression.op in BENT:
        line = _affine(expression.operands[0])
        if line is None or line.slope == 0:
            return None
        found += [line.reaches(bend) for bend in BENT[expression.op](*expression.numbers)]
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _Line:
    """slope x + offset; `size` is the sum of absolute values that went into the offset."""

    slope: float
    offset: float
    size: float

    def reaches(self, value: float) -> Kink:
        """Where it takes that value; 2^-44 is 512 u, for all roundings of slope and offset."""
        off = 2.0**9 * UNIT_ROUNDOFF * (abs(value) + self.size) / abs(self.slope)
        return Kink(at=(value - self.offset) / self.slope, off=off)


def _affine(part: Expression) -> _Line | None:
    """The line that a part is, if it is known to be one."""
    if part.op == "x":
        return _Line(slope=1.0, offset=0.0, size=0.0)
    if part.constant:
        return _Line(slope=0.0, offset=part.numbers[0], size=abs(part.numbers[0]))
    lines = [line for line in map(_affine, part.operands) if line is not None]
    if len(lines) < len(part.operands):
        return None
    if part.op == "Add":
        f, g = lines
        return _Line(slope=f.slope + g.slope, offset=f.offset + g.offset, size=f.size + g.size)
    return _scaled(part.op, sorted(lines, key=lambda line: line.slope == 0))


def _scaled(op: str, lines: list[_Line]) -> _Line | None:
    """A line times a constant, which is the last, or one divided by that."""
    factor = lines[-1]
    if factor.slope != 0:
        return None
    if op == "Mul":
        slope, offset, size = lines[0].slope, lines[0].offset, lines[0].size
        return _Line(slope=slope * factor.offset, offset=offset * factor.offset, size=size * factor.size)
    if op == "Reciprocal" and factor.offset and abs(factor.offset) == factor.size:
        return _Line(slope=0.0, offset=1 / factor.offset, size=1 / factor.size)
    return None


BENT: Mapping[str, Callable[..., tuple[float, ...]]] = {
    "LeakyRelu": lambda left, right: () if left == right else (0.0,),
    "Clip": lambda lower, upper: tuple(end for end in (lower, upper) if math.isfinite(end)),
    "Elu": lambda alpha: () if alpha == 1 else (0.0,),
}
"""Primitives with kinks, and where these are."""


def _sigmoid_slope(u: Array) -> Array:
    return np.asarray(0.25 / np.square(np.cosh(u / 2)))


def _bell_slope(u: Array) -> Array:
    return np.asarray(-4 / math.sqrt(math.pi) * u * np.exp(-np.square(u)))


SECOND: Mapping[str, Callable[[Intervals], Intervals]] = {
    "Sigmoid": curve(lambda u: -np.tanh(u / 2) * _sigmoid_slope(u), -SIGMOID_TURN, SIGMOID_TURN),
    "Tanh": curve(lambda u: -2 * np.tanh(u) / np.square(np.cosh(u)), -TANH_TURN, TANH_TURN),
    "Erf": curve(_bell_slope, -math.sqrt(0.5), math.sqrt(0.5)),
    "Softplus": curve(_sigmoid_slope, 0, lower=0, upper=0.25),
    "Softsign": Curve(
        pieces=(
            Piece(start=-math.inf, stop=0.0, function=lambda u: 2 * (1 - u) ** -3.0),
            Piece(start=0.0, stop=math.inf, function=lambda u: -2 * (1 + u) ** -3.0),
        )
    ),
    "Exp": curve(np.exp, lower=0),
    "LeakyRelu": steps((0.0,)),
    "Clip": steps((0.0,)),
}
"""P'' of primitives, but for kinks; of others, nothing is known."""


def _second(op: str, *numbers: float) -> Callable[[Intervals], Intervals]:
    if op == "Elu":
        (alpha,) = numbers
        below = Piece(start=-math.inf, stop=0.0, function=lambda u: alpha * np.exp(u))
        return Curve(pieces=(below, Piece(start=0.0, stop=math.inf, function=np.zeros_like, exact=True)))
    if op == "Pow" and numbers[0] >= 2 and numbers[0] == int(numbers[0]):
        (p,) = numbers
        return curve(lambda u: p * (p - 1) * np.power(u, p - 2), *(() if p == 2 else (0.0,)))
    return SECOND.get(op, anything)
