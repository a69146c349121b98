"""Functions of one number x, built from primitives, sums and products, with bounds of values and slopes.

On an unbounded interval, the slope of x sigmoid(x) has a product of an unbounded and a vanishing factor. So
each part f carries, besides f and f', enclosures of m = x f', r = f / x and the elasticity e = x f' / f. Then
(f g)' = f' g + r_f m_g, and for f = P(u): m = e_u (u P'(u)), where primitives know u P'(u).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convsv_cli import limits
from convsv_cli.lipschitz.scalar.primitives import PRIMITIVES, Primitive, primitive
from convsv_cli.numerics.intervals import ARITHMETIC, Intervals, Mask, anything, exactly, widened

SWITCH = "Switch"
"""An operation of three functions u, f and g: f where u is below a threshold, its number, and g above it."""
EVALUATED, ENTRY, SHARE = 200 * limits.OBJECT, 50, 0.75
"""Steps of the model's allowance for a part of an expression, for an interval at it; what share of all."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A tree.

    Attributes:
        op: "x", "constant", "Add", "Mul", `SWITCH`, or one of `PRIMITIVES`.
        operands: two of Add and Mul, three of a switch, one of a primitive.
        numbers: the constant's value; the switch's threshold; the parameters of the primitive.
    """

    op: str
    operands: tuple[Expression, ...] = ()
    numbers: tuple[float, ...] = ()

    @property
    def constant(self) -> bool:
        """Whether it is a number."""
        return self.op == "constant"

    def __add__(self, other: Expression | float) -> Expression:
        return Expression(op="Add", operands=(self, number(other)))

    def __mul__(self, other: Expression | float) -> Expression:
        """A square is known not to be negative, and x f(x) to hold x only once."""
        if self == other and not self.constant:
            return self.apply("Pow", 2.0)
        if self.op == "Exp" and other == (self.operands[0] * -1.0).apply("Sigmoid"):  # exp(u) / (1 + exp(u))
            return self.operands[0].apply("Sigmoid")
        if self.constant and other == -1.0:
            return number(-self.numbers[0])
        return Expression(op="Mul", operands=(self, number(other)))

    def __truediv__(self, other: Expression | float) -> Expression:
        return self * number(other).apply("Reciprocal")

    def apply(self, op: str, *numbers: float) -> Expression:
        """A primitive of it; what exporters take apart is put together again."""
        joined = _joined(op, numbers, self)
        return Expression(op=op, operands=(self,), numbers=numbers) if joined is None else joined

    def of(self, x: Expression) -> Expression:
        """The composition: this expression, with another one in place of x."""
        if self.op == "x":
            return x
        operands = tuple(operand.of(x) for operand in self.operands)
        if self.op in PRIMITIVES:
            return operands[0].apply(self.op, *self.numbers)
        return Expression(op=self.op, operands=operands, numbers=self.numbers)

    def count(self, counts: Callable[[Expression], bool] = lambda _: True) -> int:
        """How many parts it has; shared ones count once for each use.

        Args:
            counts: which parts; all by default.
        """
        sizes: dict[int, int] = {}

        def size(part: Expression) -> int:
            if id(part) not in sizes:
                sizes[id(part)] = counts(part) + sum(map(size, part.operands))
            return sizes[id(part)]

        return size(self)

    @property
    def uses(self) -> int:
        """How often x occurs in it."""
        return self.count(lambda part: part.op == "x")

    @property
    def primitives(self) -> int:
        """How many of its parts are neither sums nor products."""
        return self.count(lambda part: part.op in PRIMITIVES or part.op == SWITCH)


X = Expression(op="x")


def _joined(op: str, numbers: tuple[float, ...], u: Expression) -> Expression | None:
    """A primitive of u as one primitive, or as an expression with narrower bounds; None for neither."""
    inner = u.operands[0] if u.operands else u
    if op in ("Log", "Reciprocal") and u.op == "Add":
        for one, power in (u.operands, u.operands[::-1]):
            if one == number(1.0) and power.op == "Exp":
                (inner,) = power.operands
                return inner.apply("Softplus") if op == "Log" else (inner * -1.0).apply("Sigmoid")
    if op == "Log" and u.op == "Sigmoid":
        return (inner * -1.0).apply("Softplus") * -1.0
    if op == "Reciprocal" and u.op == "Exp":
        return (inner * -1.0).apply("Exp")
    if op == "Pow" and numbers == (1.0,):
        return u
    if op == "Pow" and numbers == (2.0,) and u.op == "Sin":
        return (inner * 2.0).apply("Cos") * -0.5 + 0.5
    return _root(u) if op == "Pow" and numbers == (0.5,) else None


def _root(u: Expression) -> Expression | None:
    """The square root of a v^2 + b, or of a v^2 within limits, as one function of v, for a > 0 and b >= 0."""
    if u.op == "Clip" and u.numbers[1] > 0:
        (whole,), (lower, upper) = u.operands, u.numbers
        v, a = _scaled_square(whole)
        if v is None or lower >= upper:
            return None
        return v.apply("ClippedLength", max(lower, 0.0) / a, upper / a) * math.sqrt(a)
    square, b = u, 0.0
    for first, second in (u.operands, u.operands[::-1]) if u.op == "Add" else ():
        if second.constant and second.numbers[0] >= 0:
            square, b = first, second.numbers[0]
    v, a = _scaled_square(square)
    if v is None:
        return None
    root = v.apply("LeakyRelu", -1.0, 1.0) if b == 0 else v.apply("Hypot", b / a)
    return root if a == 1 else root * math.sqrt(a)


def _scaled_square(u: Expression) -> tuple[Expression | None, float]:
    """The v and a > 0 of a v^2; None for v where it is no such function."""
    a = 1.0
    for first, second in (u.operands, u.operands[::-1]) if u.op == "Mul" else ():
        if second.constant and second.numbers[0] > 0:
            u, a = first, second.numbers[0]
    return (u.operands[0], a) if u.op == "Pow" and u.numbers == (2.0,) else (None, a)


def number(value: Expression | float) -> Expression:
    """A constant; it stands for all numbers that round to it."""
    return value if isinstance(value, Expression) else Expression(op="constant", numbers=(float(value),))


@dataclass(frozen=True, kw_only=True, eq=False)
class Jet:
    """Enclosures over each interval.

    Attributes:
        value, slope: f(x), and f'(x) with all of Clarke's derivative at kinks.
        product: m = x f'(x).
        ratio: r with f = r x; [-inf, inf] says nothing, not even that there is one.
        elasticity: e with m = e f; likewise.
    """

    value: Intervals
    slope: Intervals
    product: Intervals
    ratio: Intervals
    elasticity: Intervals

    def tightened(self, x: Intervals) -> Jet:
        """With what each says of the others."""
        value = self.value.meet(_guarded(self.ratio, x))
        product = self.product.meet(x * self.slope).meet(_guarded(self.elasticity, value))
        return Jet(
            value=value,
            product=product,
            slope=self.slope.meet(product / x),
            ratio=self.ratio.meet(value / x),
            elasticity=self.elasticity.meet(product / value),
        )


def jet(expression: Expression, x: Intervals) -> Jet:
    """Value and slope over each interval of positive length.

    Args:
        expression: the function.
        x: the intervals.

    Raises:
        LimitError: the model's steps are used up.
    """
    known: dict[int, Jet] = {}
    each = EVALUATED + ENTRY * x.lower.size

    def find(part: Expression) -> Jet:
        if id(part) not in known:
            limits.spend(each, "bounding its functions of one number", share=SHARE)
            known[id(part)] = _raw(part, x, [find(operand) for operand in part.operands]).tightened(x)
        return known[id(part)]

    with np.errstate(all="ignore"):
        return find(expression)


def _raw(part: Expression, x: Intervals, operands: list[Jet]) -> Jet:
    if part.op == "x":
        one = exactly(1.0, x)
        return Jet(value=x, slope=one, product=x, ratio=one, elasticity=one)
    if part.op == "constant":
        return _constant(part.numbers[0], x)
    if part.op == "Add":
        return _sum(*operands)
    if part.op == "Mul":
        return _times(*operands)
    if part.op == SWITCH:
        return _switched(part.numbers[0], *operands)
    return _composition(primitive(part.op, *part.numbers), *operands)


def _constant(value: float, x: Intervals) -> Jet:
    zero, c = exactly(0.0, x), exactly(value, x)
    c = widened(c.lower, c.upper, ARITHMETIC, 0.0)
    return Jet(value=c, slope=zero, product=zero, ratio=c / x, elasticity=zero)


def _sum(f: Jet, g: Jet) -> Jet:
    """Its elasticity is a mean of those of f and g, weighted by these; convex where they agree in sign."""
    value = f.value + g.value
    same = (f.value.lower >= 0) & (g.value.lower >= 0) | (f.value.upper <= 0) & (g.value.upper <= 0)
    wide = anything(value)
    hull = f.elasticity.hull(g.elasticity)
    convex = Intervals(np.where(same, hull.lower, wide.lower), np.where(same, hull.upper, wide.upper))
    weighted = _weighted(f, g, value).meet(_weighted(g, f, value))
    return Jet(
        value=value,
        slope=f.slope + g.slope,
        product=f.product + g.product,
        ratio=f.ratio + g.ratio,
        elasticity=convex.meet(weighted),
    )


def _weighted(f: Jet, g: Jet, value: Intervals) -> Intervals:
    """e_f + (e_g - e_f) g / (f + g), which is e_f + (m_g - e_f g) / (f + g): finite where f outgrows g."""
    by_products = f.elasticity + (g.product + -(f.elasticity * g.value)) / value
    by_products = (f.elasticity.known & value.without_zero).choose(by_products, anything(value))
    usable = f.elasticity.known & g.elasticity.known & value.without_zero
    mean = f.elasticity + (g.elasticity + -f.elasticity) * (g.value / value)
    return usable.choose(mean.meet(by_products), by_products)


def _times(f: Jet, g: Jet) -> Jet:
    first, second = f.slope * g.value, f.value * g.slope
    through_f, through_g = _guarded(f.ratio, g.product), _guarded(g.ratio, f.product)
    return Jet(
        value=f.value * g.value,
        slope=first.meet(through_g) + second.meet(through_f),
        product=f.product * g.value + f.value * g.product,
        ratio=_guarded(f.ratio, g.value).meet(_guarded(g.ratio, f.value)),
        elasticity=f.elasticity + g.elasticity,
    )


def _composition(p: Primitive, u: Jet) -> Jet:
    wide = anything(u.value)
    product = p.slope(u.value) * u.product
    if p.product is not None:
        product = product.meet(_guarded(u.elasticity, p.product(u.value)))
    return Jet(
        value=p.value(u.value),
        slope=p.slope(u.value) * u.slope,
        product=product,
        ratio=wide if p.ratio is None else _guarded(u.ratio, p.ratio(u.value)),
        elasticity=wide if p.elasticity is None else _guarded(u.elasticity, p.elasticity(u.value)),
    )


def _switched(threshold: float, u: Jet, below: Jet, above: Jet) -> Jet:
    """One of both, where it is clear which; the slope is that of either at most, but for jumps."""
    first, second = Mask(u.value.upper <= threshold), Mask(u.value.lower >= threshold)

    def either(name: str) -> Intervals:
        f, g = getattr(below, name), getattr(above, name)
        return first.choose(f, second.choose(g, f.hull(g)))

    return Jet(**{name: either(name) for name in ("value", "slope", "product", "ratio", "elasticity")})


def _guarded(unsure: Intervals, factor: Intervals) -> Intervals:
    """The product, where there is a number in `unsure`."""
    return (unsure.known & factor.known).choose(unsure * factor, anything(factor))
