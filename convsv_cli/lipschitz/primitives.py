"""Functions of one number with what bounds the slopes of their compositions, on unbounded intervals too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from convsv_cli.lipschitz.curves import Curve, Piece, Sinusoid, curve, steps
from convsv_cli.numerics.intervals import Array, Intervals

Enclosure = Callable[[Intervals], Intervals]
SIGMOID_TURN = 1.5434046384182085  # u tanh(u/2) = 1: u sigmoid'(u) is largest
GATE_TURN = 1.2784645427610738  # u sigmoid(-u) = u - 1: u sigmoid(-u) is largest
POSITIVE = (0.0, math.inf)


@dataclass(frozen=True, kw_only=True)
class Primitive:
    """A function P.

    Attributes:
        value: P(u).
        slope: P'(u), at a kink all of Clarke's derivative.
        product: u P'(u).
        elasticity: u P'(u) / P(u), so that its product with P(u) is u P'(u) even where P is 0.
        ratio: P(u) / u, likewise.
    """

    value: Enclosure
    slope: Enclosure
    product: Enclosure | None = None
    elasticity: Enclosure | None = None
    ratio: Enclosure | None = None


def sigmoid(u: Array) -> Array:
    """Without overflow, and as exact for large negative numbers."""
    small = np.exp(-np.abs(u))
    return np.asarray(np.where(u >= 0, 1.0, small) / (1 + small))


def softplus(u: Array) -> Array:
    """log(1 + exp(u)) without overflow."""
    return np.maximum(u, 0.0) + np.log1p(np.exp(-np.abs(u)))


def erf(u: Array) -> Array:
    """The error function; NumPy has none."""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(u), np.float64)


def _bell(u: Array) -> Array:
    return 2 / math.sqrt(math.pi) * np.exp(-np.square(u))


def _at_zero(value: float, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The function, continued to 0 (and to numbers so small that squares vanish)."""
    return lambda u: np.where(np.abs(u) < 1e-150, value, function(u))


def _softplus_elasticity(u: Array) -> Array:
    """U sigmoid(u) / softplus(u) increases: sigmoid / softplus falls, and softplus(u) > u."""
    ratio = np.where(u < -700, u, u * sigmoid(u) / softplus(u))
    return np.where(u == np.inf, 1.0, ratio)


def _sech2(u: Array) -> Array:
    return np.cosh(u) ** -2.0


def _logistic() -> Primitive:
    return Primitive(
        value=curve(sigmoid, lower=0, upper=1),
        slope=curve(lambda u: sigmoid(u) * sigmoid(-u), 0, lower=0, upper=0.25),
        product=curve(lambda u: u * sigmoid(u) * sigmoid(-u), -SIGMOID_TURN, SIGMOID_TURN),
        elasticity=curve(lambda u: u * sigmoid(-u), GATE_TURN),
    )


def _tanh() -> Primitive:
    return Primitive(
        value=curve(np.tanh, lower=-1, upper=1),
        slope=curve(_sech2, 0, lower=0, upper=1),
        product=curve(lambda u: u * _sech2(u), -SIGMOID_TURN / 2, SIGMOID_TURN / 2),
        elasticity=curve(_at_zero(1, lambda u: 2 * u / np.sinh(2 * u)), 0, lower=0, upper=1),
    )


def _erf() -> Primitive:
    """Its elasticity falls with |u|: it is 1 / int_0^1 exp(u^2 (1 - s^2)) ds."""
    return Primitive(
        value=curve(erf, lower=-1, upper=1),
        slope=curve(_bell, 0, lower=0),
        product=curve(lambda u: u * _bell(u), -math.sqrt(0.5), math.sqrt(0.5)),
        elasticity=curve(_at_zero(1, lambda u: u * _bell(u) / erf(u)), 0, lower=0, upper=1),
    )


def _softplus() -> Primitive:
    return Primitive(
        value=curve(softplus, lower=0),
        slope=curve(sigmoid, lower=0, upper=1),
        product=curve(lambda u: u * sigmoid(u), -GATE_TURN),
        elasticity=curve(_softplus_elasticity, upper=1),
    )


def _softsign() -> Primitive:
    return Primitive(
        value=curve(lambda u: np.sign(u) / (1 + 1 / np.abs(u)), lower=-1, upper=1),
        slope=curve(lambda u: (1 + np.abs(u)) ** -2.0, 0, lower=0, upper=1),
        product=curve(lambda u: u / np.square(1 + np.abs(u)), -1, 1),
        elasticity=curve(lambda u: 1 / (1 + np.abs(u)), 0, lower=0, upper=1),
    )


def _atan() -> Primitive:
    """Its elasticity falls with |u|, as (1 - u^2) / u < 1 / atan(u) for u > 0."""
    return Primitive(
        value=curve(np.arctan),
        slope=curve(lambda u: 1 / (1 + u * u), 0, lower=0, upper=1),
        product=curve(lambda u: u / (1 + u * u), -1, 1),
        elasticity=curve(_at_zero(1, lambda u: u / (1 + u * u) / np.arctan(u)), 0, lower=0, upper=1),
    )


def _asinh() -> Primitive:
    return Primitive(
        value=curve(np.arcsinh),
        slope=curve(lambda u: 1 / np.hypot(1, u), 0, lower=0, upper=1),
        product=curve(lambda u: np.sign(u) / np.hypot(1, 1 / u), lower=-1, upper=1),
    )


def _exp() -> Primitive:
    return Primitive(
        value=curve(np.exp, lower=0),
        slope=curve(np.exp, lower=0),
        product=curve(lambda u: u * np.exp(u), -1),
        elasticity=lambda u: u,
    )


def _power(exponent: float) -> Primitive:
    """u^p for a whole p > 0, or any p other than 0 where u >= 0."""
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


def _log() -> Primitive:
    return Primitive(
        value=curve(np.log, domain=POSITIVE),
        slope=curve(lambda u: 1 / u, domain=POSITIVE, lower=0),
        product=steps((1.0,), domain=POSITIVE),
    )


def _reciprocal() -> Primitive:
    return Primitive(
        value=Intervals.reciprocal,
        slope=lambda u: -(u.reciprocal() * u.reciprocal()),
        product=lambda u: -u.reciprocal(),
        elasticity=steps((-1.0,)),
    )


def hinge(left: float, right: float) -> Primitive:
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
    return Primitive(value=Curve(pieces=(clipped,)), slope=_between(lower, upper))


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

    def joined(below: Callable[[Array], Array], above: Callable[[Array], Array], *turns: float) -> Curve:
        left = curve(below, *turns, domain=(-math.inf, 0.0)).pieces
        return Curve(pieces=(*left, Piece(start=0.0, stop=math.inf, function=above)))

    return Primitive(
        value=joined(lambda u: alpha * np.expm1(u), lambda u: u),
        slope=joined(lambda u: alpha * np.exp(u), np.ones_like),
        product=joined(lambda u: alpha * u * np.exp(u), lambda u: u, -1.0),
    )


def _sin() -> Primitive:
    return Primitive(
        value=Sinusoid(function=np.sin, peak=math.pi / 2), slope=Sinusoid(function=np.cos, peak=0.0)
    )


def _cos() -> Primitive:
    sine = Sinusoid(function=np.sin, peak=math.pi / 2)
    return Primitive(value=Sinusoid(function=np.cos, peak=0.0), slope=lambda u: -sine(u))


def _sinh() -> Primitive:
    return Primitive(value=curve(np.sinh), slope=curve(np.cosh, 0, lower=1))


def _cosh() -> Primitive:
    return Primitive(value=curve(np.cosh, 0, lower=1), slope=curve(np.sinh))


def _inverse(value: Callable[[Array], Array], slope: Callable[[Array], Array], *turns: float) -> Primitive:
    """Of a function with values in [-1, 1]."""
    return Primitive(value=curve(value, domain=(-1.0, 1.0)), slope=curve(slope, *turns, domain=(-1.0, 1.0)))


def _asin() -> Primitive:
    return _inverse(np.arcsin, lambda u: 1 / np.sqrt((1 - u) * (1 + u)), 0.0)


def _acos() -> Primitive:
    return _inverse(np.arccos, lambda u: -1 / np.sqrt((1 - u) * (1 + u)), 0.0)


def _atanh() -> Primitive:
    return _inverse(np.arctanh, lambda u: 1 / ((1 - u) * (1 + u)), 0.0)


def _acosh() -> Primitive:
    domain = (1.0, math.inf)
    slope = curve(lambda u: 1 / (np.sqrt(u - 1) * np.sqrt(u + 1)), domain=domain)
    return Primitive(value=curve(np.arccosh, domain=domain, lower=0), slope=slope)


def _tan() -> Primitive:
    """Between its poles beside 0."""
    domain = (-math.pi / 2, math.pi / 2)
    slope = curve(lambda u: 1 + np.square(np.tan(u)), 0.0, domain=domain)
    return Primitive(value=curve(np.tan, domain=domain), slope=slope)


PRIMITIVES: Mapping[str, Callable[..., Primitive]] = {
    "Sigmoid": _logistic,
    "Tanh": _tanh,
    "Erf": _erf,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Atan": _atan,
    "Asinh": _asinh,
    "Exp": _exp,
    "Log": _log,
    "Pow": _power,
    "Reciprocal": _reciprocal,
    "LeakyRelu": hinge,
    "Clip": _clip,
    "Elu": _elu,
    "Sin": _sin,
    "Cos": _cos,
    "Sinh": _sinh,
    "Cosh": _cosh,
    "Asin": _asin,
    "Acos": _acos,
    "Atanh": _atanh,
    "Acosh": _acosh,
    "Tan": _tan,
}
