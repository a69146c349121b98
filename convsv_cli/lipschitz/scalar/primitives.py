"""Functions of one number, with what bounds the slopes of their compositions, on unbounded intervals too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from convsv_cli.lipschitz.scalar.curves import Curve, Piece, Sinusoid, curve, steps
from convsv_cli.numerics.intervals import Array, Intervals

Enclosure = Callable[[Intervals], Intervals]
SIGMOID_TURN = 1.5434046384182085  # u tanh(u/2) = 1: u sigmoid'(u) is largest
GATE_TURN = 1.2784645427610738  # u sigmoid(-u) = u - 1: u sigmoid(-u) is largest
POSITIVE = (0.0, math.inf)
UNIT = (-1.0, 1.0)
NEAR = 2.0**-48  # far more than what rounding moves


@dataclass(frozen=True, kw_only=True)
class Primitive:
    """A function P.

    Attributes:
        value: P(u).
        slope: P'(u); at a kink, all of Clarke's derivative.
        product: u P'(u).
        elasticity: u P'(u) / P(u), so that its product with P(u) is u P'(u) even where P is 0.
        ratio: P(u) / u, likewise.
    """

    value: Enclosure
    slope: Enclosure
    product: Enclosure | None = None
    elasticity: Enclosure | None = None
    ratio: Enclosure | None = None


@cache
def primitive(op: str, *numbers: float) -> Primitive:
    """One of `PRIMITIVES`.

    Args:
        op: its name.
        numbers: its parameters, if it has any.
    """
    return PLAIN[op] if op in PLAIN else WITH_PARAMETERS[op](*numbers)


def _sigmoid(u: Array) -> Array:
    """Without overflow, and accurate for large negative numbers too."""
    small = np.exp(-np.abs(u))
    return np.asarray(np.where(u >= 0, 1.0, small) / (1 + small))


def _softplus(u: Array) -> Array:
    """log(1 + exp(u)) without overflow."""
    return np.maximum(u, 0.0) + np.log1p(np.exp(-np.abs(u)))


def _softplus_elasticity(u: Array) -> Array:
    """U sigmoid(u) / softplus(u) increases: sigmoid / softplus falls, and softplus(u) > u."""
    ratio = np.where(u < -700, u, u * _sigmoid(u) / _softplus(u))
    return np.where(u == np.inf, 1.0, ratio)


def _erf(u: Array) -> Array:
    """The error function; NumPy has none."""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(u), np.float64)


def _bell(u: Array) -> Array:
    return 2 / math.sqrt(math.pi) * np.exp(-np.square(u))


def _sech2(u: Array) -> Array:
    return np.cosh(u) ** -2.0


def _one_at_zero(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The function, continued by 1 at 0 (and at numbers so small that their squares vanish)."""
    return lambda u: np.where(np.abs(u) < 1e-150, 1, function(u))


SINE, COSINE = Sinusoid(function=np.sin, peak=math.pi / 2), Sinusoid(function=np.cos, peak=0.0)

PLAIN: Mapping[str, Primitive] = {
    "Sigmoid": Primitive(
        value=curve(_sigmoid, lower=0, upper=1),
        slope=curve(lambda u: _sigmoid(u) * _sigmoid(-u), 0, lower=0, upper=0.25),
        product=curve(lambda u: u * _sigmoid(u) * _sigmoid(-u), -SIGMOID_TURN, SIGMOID_TURN),
        elasticity=curve(lambda u: u * _sigmoid(-u), GATE_TURN),
    ),
    "Tanh": Primitive(
        value=curve(np.tanh, lower=-1, upper=1),
        slope=curve(_sech2, 0, lower=0, upper=1),
        product=curve(lambda u: u * _sech2(u), -SIGMOID_TURN / 2, SIGMOID_TURN / 2),
        elasticity=curve(_one_at_zero(lambda u: 2 * u / np.sinh(2 * u)), 0, lower=0, upper=1),
    ),
    "Erf": Primitive(  # its elasticity falls with |u|: it is 1 / int_0^1 exp(u^2 (1 - s^2)) ds
        value=curve(_erf, lower=-1, upper=1),
        slope=curve(_bell, 0, lower=0),
        product=curve(lambda u: u * _bell(u), -math.sqrt(0.5), math.sqrt(0.5)),
        elasticity=curve(_one_at_zero(lambda u: u * _bell(u) / _erf(u)), 0, lower=0, upper=1),
    ),
    "Softplus": Primitive(
        value=curve(_softplus, lower=0),
        slope=curve(_sigmoid, lower=0, upper=1),
        product=curve(lambda u: u * _sigmoid(u), -GATE_TURN),
        elasticity=curve(_softplus_elasticity, upper=1),
    ),
    "Softsign": Primitive(
        value=curve(lambda u: np.sign(u) / (1 + 1 / np.abs(u)), lower=-1, upper=1),
        slope=curve(lambda u: (1 + np.abs(u)) ** -2.0, 0, lower=0, upper=1),
        product=curve(lambda u: u / np.square(1 + np.abs(u)), -1, 1),
        elasticity=curve(lambda u: 1 / (1 + np.abs(u)), 0, lower=0, upper=1),
    ),
    "Atan": Primitive(  # its elasticity falls with |u|, as (1 - u^2) / u < 1 / atan(u) for u > 0
        value=curve(np.arctan),
        slope=curve(lambda u: 1 / (1 + u * u), 0, lower=0, upper=1),
        product=curve(lambda u: u / (1 + u * u), -1, 1),
        elasticity=curve(_one_at_zero(lambda u: u / (1 + u * u) / np.arctan(u)), 0, lower=0, upper=1),
    ),
    "Asinh": Primitive(
        value=curve(np.arcsinh),
        slope=curve(lambda u: 1 / np.hypot(1, u), 0, lower=0, upper=1),
        product=curve(lambda u: np.sign(u) / np.hypot(1, 1 / u), lower=-1, upper=1),
    ),
    "Exp": Primitive(
        value=curve(np.exp, lower=0),
        slope=curve(np.exp, lower=0),
        product=curve(lambda u: u * np.exp(u), -1),
        elasticity=lambda u: u,
    ),
    "Log": Primitive(
        value=curve(np.log, domain=POSITIVE),
        slope=curve(lambda u: 1 / u, domain=POSITIVE, lower=0),
        product=steps((1.0,), domain=POSITIVE),
    ),
    "Reciprocal": Primitive(
        value=Intervals.reciprocal,
        slope=lambda u: -(u.reciprocal() * u.reciprocal()),
        product=lambda u: -u.reciprocal(),
        elasticity=steps((-1.0,)),
    ),
    "Sin": Primitive(value=SINE, slope=COSINE),
    "Cos": Primitive(value=COSINE, slope=lambda u: -SINE(u)),
    "Tan": Primitive(  # between the two poles next to 0
        value=curve(np.tan, domain=(-math.pi / 2, math.pi / 2)),
        slope=curve(lambda u: 1 + np.square(np.tan(u)), 0.0, domain=(-math.pi / 2, math.pi / 2)),
    ),
    "Sinh": Primitive(value=curve(np.sinh), slope=curve(np.cosh, 0, lower=1)),
    "Cosh": Primitive(value=curve(np.cosh, 0, lower=1), slope=curve(np.sinh)),
    "Asin": Primitive(
        value=curve(np.arcsin, domain=UNIT),
        slope=curve(lambda u: 1 / np.sqrt((1 - u) * (1 + u)), 0.0, domain=UNIT),
    ),
    "Acos": Primitive(
        value=curve(np.arccos, domain=UNIT),
        slope=curve(lambda u: -1 / np.sqrt((1 - u) * (1 + u)), 0.0, domain=UNIT),
    ),
    "Acosh": Primitive(
        value=curve(np.arccosh, domain=(1.0, math.inf), lower=0),
        slope=curve(lambda u: 1 / (np.sqrt(u - 1) * np.sqrt(u + 1)), domain=(1.0, math.inf)),
    ),
    "Atanh": Primitive(
        value=curve(np.arctanh, domain=UNIT),
        slope=curve(lambda u: 1 / ((1 - u) * (1 + u)), 0.0, domain=UNIT),
    ),
}
"""Those that have no parameters, by the ONNX operator that computes them."""


def _power(exponent: float) -> Primitive:
    """u^p for a positive integer p, or any p other than 0 where u >= 0."""
    whole = exponent == int(exponent) and exponent > 0
    domain, turns = ((-math.inf, math.inf), (0.0,)) if whole else (POSITIVE, ())
    even = whole and exponent % 2 == 0
    floor = 0.0 if even or not whole else -math.inf
    return Primitive(
        value=curve(lambda u: np.power(u, exponent), *turns, domain=domain, lower=floor),
        slope=curve(lambda u: exponent * np.power(u, exponent - 1), *turns, domain=domain),
        product=curve(lambda u: exponent * np.power(u, exponent), *turns, domain=domain),
        elasticity=steps((exponent,), domain=domain),
    )


def _hinge(left: float, right: float) -> Primitive:
    """Slope `left` below 0 and `right` above: Relu, LeakyRelu, Abs."""
    halves = (
        Piece(start=-math.inf, stop=0.0, function=lambda u: left * u),
        Piece(start=0.0, stop=math.inf, function=lambda u: right * u),
    )
    floor = 0.0 if left <= 0 <= right else -math.inf
    line = Curve(pieces=halves, lower=floor)
    slopes = steps((left, right), 0)
    return Primitive(value=line, slope=slopes, product=line, elasticity=steps((1.0,)), ratio=slopes)


def _clip(lower: float, upper: float) -> Primitive:
    """min(max(u, lower), upper), in this order."""
    if lower >= upper:
        flat = steps((upper,))
        return Primitive(value=flat, slope=steps((0.0,)), product=steps((0.0,)))
    clipped = Piece(start=-math.inf, stop=math.inf, function=lambda u: np.clip(u, lower, upper), exact=True)
    inside = _between(lower, upper)
    return Primitive(
        value=Curve(pieces=(clipped,)), slope=inside, product=lambda u: u * inside(u), elasticity=inside
    )


def _between(lower: float, upper: float) -> Curve:
    """1 from lower to upper, 0 elsewhere; either may be infinite."""
    levels, bounds = [1.0], []
    if lower > -math.inf:
        levels, bounds = [0.0, *levels], [lower]
    if upper < math.inf:
        levels, bounds = [*levels, 0.0], [*bounds, upper]
    return steps(tuple(levels), *bounds)


def _elu(alpha: float) -> Primitive:
    """U above 0, alpha (exp(u) - 1) below."""

    def joined(
        below: Callable[[Array], Array],
        above: Callable[[Array], Array],
        *turns: float,
        lower: float = -math.inf,
    ) -> Curve:
        left = curve(below, *turns, domain=(-math.inf, 0.0)).pieces
        return Curve(pieces=(*left, Piece(start=0.0, stop=math.inf, function=above)), lower=lower)

    return Primitive(
        value=joined(lambda u: alpha * np.expm1(u), lambda u: u),
        slope=joined(lambda u: alpha * np.exp(u), np.ones_like, lower=min(alpha, 0.0)),
        product=joined(lambda u: alpha * u * np.exp(u), lambda u: u, -1.0),
    )


def _hypotenuse(square: float) -> Primitive:
    """The root of u^2 plus a positive number."""
    return Primitive(
        value=curve(lambda u: np.hypot(u, math.sqrt(square)), 0.0, lower=0.0),
        slope=curve(lambda u: np.sign(u) / np.hypot(1, math.sqrt(square) / u), lower=-1, upper=1),
        product=curve(lambda u: np.abs(u) / np.hypot(1, math.sqrt(square) / u), 0.0, lower=0.0),
        elasticity=curve(lambda u: 1 / (1 + square / np.square(u)), 0.0, lower=0.0, upper=1.0),
    )


def _clipped_length(lower: float, upper: float) -> Primitive:
    """The root of u^2 within limits that are not negative.

    Those may be rounded, and so are their roots: close to one, the slopes on both sides count.
    """
    low, high = math.sqrt(lower), math.sqrt(upper)

    def slopes(left: float, right: float) -> Curve:
        levels, ends = (0.0, left, 0.0, right, 0.0), (-math.inf, -high, -low, low, high, math.inf)
        pieces = [
            Piece(start=a - abs(a) * NEAR, stop=b + abs(b) * NEAR, function=_constant(level), exact=True)
            for level, (a, b) in zip(levels, pairwise(ends), strict=True)
            if a < b
        ]
        return Curve(pieces=tuple(pieces), inside=True)

    def value(u: Array) -> Array:
        return np.clip(np.abs(u), low, high)

    slope = slopes(-1.0, 1.0)
    return Primitive(
        value=curve(value, 0.0, lower=0.0),
        slope=slope,
        product=lambda u: u * slope(u),
        elasticity=slopes(1.0, 1.0),
    )


def _constant(level: float) -> Callable[[Array], Array]:
    return lambda u: np.full_like(u, level)


WITH_PARAMETERS: Mapping[str, Callable[..., Primitive]] = {
    "Pow": _power,
    "LeakyRelu": _hinge,
    "Clip": _clip,
    "Elu": _elu,
    "Hypot": _hypotenuse,
    "ClippedLength": _clipped_length,
}
PRIMITIVES = (*PLAIN, *WITH_PARAMETERS)
