"""Functions of one number that are put together from several: Where and comparisons, masks, Max, Sign.

A comparison is 0 on one side of a threshold and 1 on the other, so that `x * (x > 0)` and
`Where(x > 0, x, 0)` are one function. Where such a function does not jump, its Lipschitz constant is the
largest slope almost everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar import operators, rewriting
from convsv_cli.lipschitz.scalar.expressions import SWITCH, Expression, jet, number
from convsv_cli.lipschitz.scalar.operators import BUILDERS, Call, built
from convsv_cli.model.graph import Node
from convsv_cli.numerics.intervals import Intervals

MOST_THRESHOLDS = 16  # of one expression
HALF_ULP = 2.0**-24
"""Half of the distance between neighbouring numbers of single precision, in relation to the larger one."""
ZERO, ONE = number(0.0), number(1.0)
AT_ZERO: Mapping[str, Fraction] = {
    **dict.fromkeys(("Tanh", "Erf", "Softsign", "Atan", "Asinh", "Sin", "Tan", "Sinh"), Fraction(0)),
    **dict.fromkeys(("Asin", "Atanh", "Elu"), Fraction(0)),
    **dict.fromkeys(("Exp", "Cos", "Cosh"), Fraction(1)),
    "Sigmoid": Fraction(1, 2),
}
"""What functions are at 0, exactly."""


class _InexactError(Exception):
    """A value is no rational number, or is not known to be one."""


def jump(expression: Expression) -> float:
    """Upper bound of the sum of all jumps of a function that switches; 0 where it provably is continuous.

    A threshold must be met at one x that is known exactly. Infinite where it is not.
    """
    points = _points(expression)
    return math.inf if points is None else math.fsum(_jump_at(expression, point) for point in points)


def continuous(expression: Expression) -> bool:
    """Whether a function has no jump, or one that single precision hides: Softplus(x > 20)."""
    points = _points(expression)
    return points is not None and all(
        _jump_at(expression, point) <= HALF_ULP * _magnitude_at(expression, point) for point in points
    )


def expressed(node: Node, operands: Sequence[Expression | None]) -> Expression:
    """What a node does to each entry; `operators.expressed`, and what `SWITCHES` has.

    Args:
        node: of the graph.
        operands: its inputs; None where one is left out.

    Raises:
        UnboundedError: it is not element-wise, or does it in a way that convsv does not know.
    """
    builder = SWITCHES.get(node.op)
    return operators.expressed(node, operands) if builder is None else built(builder, node, operands)


def _points(expression: Expression) -> set[Fraction] | None:
    """Where a function switches; None where that is not known exactly, or at too many places."""
    switches = list(_switches(expression))
    if len(switches) > MOST_THRESHOLDS:
        return None
    points = set()
    for part in switches:
        line = _line(part.operands[0])
        if line is None or line[0] == 0:
            return None
        points.add((Fraction(part.numbers[0]) - line[1]) / line[0])
    return points


def _switches(expression: Expression) -> Iterator[Expression]:
    if expression.op == SWITCH:
        yield expression
    for operand in expression.operands:
        yield from _switches(operand)


def _jump_at(expression: Expression, point: Fraction) -> float:
    sides = [_one_side(expression, point, side) for side in (-1, 1)]
    try:
        first, second = (_exact(side, point) for side in sides)
    except _InexactError:
        box = _near(point)
        difference = jet(sides[0], box).value + -jet(sides[1], box).value
        return float(difference.absolute().upper[0])
    return 0.0 if first == second else math.nextafter(float(abs(first - second)), math.inf)


def _near(point: Fraction) -> Intervals:
    ends = (np.array([math.nextafter(float(point), side * math.inf)]) for side in (-1, 1))
    return Intervals(*ends)


def _magnitude_at(expression: Expression, point: Fraction) -> float:
    """At least so large are the values on both sides of a point."""
    sides = (jet(_one_side(expression, point, side), _near(point)).value.absolute() for side in (-1, 1))
    return min(float(each.lower[0]) for each in sides)


def _one_side(expression: Expression, point: Fraction, side: int) -> Expression:
    """The function right below (side -1) or above (1) a point, with its switches set."""
    if expression.op == SWITCH:
        inner, below, above = expression.operands
        slope, offset = _line(inner) or (Fraction(0), Fraction(0))
        distance = slope * point + offset - Fraction(expression.numbers[0])
        chosen = above if (distance or slope * side) > 0 else below
        return _one_side(chosen, point, side)
    operands = tuple(_one_side(operand, point, side) for operand in expression.operands)
    return Expression(op=expression.op, operands=operands, numbers=expression.numbers)


def _line(expression: Expression) -> tuple[Fraction, Fraction] | None:
    """Slope and offset of an affine function, exactly; None for another one."""
    if expression.op == "x":
        return Fraction(1), Fraction(0)
    if expression.constant:
        return Fraction(0), Fraction(expression.numbers[0])
    lines = [_line(operand) for operand in expression.operands]
    if expression.op not in ("Add", "Mul") or None in lines:
        return None
    (a, b), (c, d) = (line for line in lines if line is not None)
    if expression.op == "Add":
        return a + c, b + d
    return None if a and c else (a * d + b * c, b * d)


def _exact(expression: Expression, x: Fraction) -> Fraction:
    """The value, where it is a rational number that is known."""
    if expression.op == "x":
        return x
    if expression.constant:
        return Fraction(expression.numbers[0])
    values = [_exact(operand, x) for operand in expression.operands]
    if expression.op in ("Add", "Mul"):
        return values[0] + values[1] if expression.op == "Add" else values[0] * values[1]
    return _exact_primitive(expression, values[0])


def _exact_primitive(expression: Expression, u: Fraction) -> Fraction:
    op, numbers = expression.op, expression.numbers
    found: Fraction | None = None
    if op == "LeakyRelu":
        found = u * Fraction(numbers[0] if u < 0 else numbers[1])
    elif op == "Clip":
        found = u if numbers[0] == -math.inf else max(u, Fraction(numbers[0]))
        found = found if numbers[1] == math.inf else min(found, Fraction(numbers[1]))
    elif op == "Pow" and numbers[0] in (1.0, 2.0, 3.0, 4.0):
        found = u ** int(numbers[0])
    elif op == "Reciprocal" and u:
        found = 1 / u
    elif op == "Elu" and u > 0:
        found = u
    elif u == 0 and op in AT_ZERO:
        found = AT_ZERO[op]
    if found is None:
        raise _InexactError(op)
    return found


def _switch(inner: Expression, threshold: float, below: Expression, above: Expression) -> Expression:
    """One of two functions; where one of these is what is compared and the other the threshold, a limit."""
    if below == above:
        return below
    limits = {
        (number(threshold), inner): (threshold, math.inf),
        (inner, number(threshold)): (-math.inf, threshold),
    }
    if (below, above) in limits and threshold != 0:
        return rewriting.clipped(inner, *limits[below, above])
    return Expression(op=SWITCH, operands=(inner, below, above), numbers=(threshold,))


def _above(call: Call) -> Expression:
    """1 where the first operand is above the second one."""
    a, b = call.operand(0), call.operand(1)
    if b.constant:
        return _switch(a, b.numbers[0], ZERO, ONE)
    if a.constant:
        return _switch(b, a.numbers[0], ONE, ZERO)
    return _switch(a + b * -1.0, 0.0, ZERO, ONE)


def _chosen(condition: Expression, yes: Expression, no: Expression) -> Expression:
    """`yes` where a function of zeros and ones is 1."""
    if condition.constant:
        return yes if condition.numbers[0] else no
    if condition.op != SWITCH:
        raise UnboundedError("a condition that is no comparison with a number")
    inner, below, above = condition.operands
    return _switch(inner, condition.numbers[0], _chosen(below, yes, no), _chosen(above, yes, no))


def _largest(call: Call) -> Expression:
    """max(f, g) = g + relu(f - g)."""
    return reduce(lambda f, g: g + (f + g * -1.0).apply("LeakyRelu", 0.0, 1.0), call.given)


def _smallest(call: Call) -> Expression:
    return reduce(lambda f, g: g + (f + g * -1.0).apply("LeakyRelu", 1.0, 0.0), call.given)


def _of_several(builder: Callable[[Call], Expression], op: str) -> Callable[[Call], Expression]:
    """One builder for several functions, that of the operator for one."""

    def build(call: Call) -> Expression:
        several = sum(not operand.constant for operand in call.given) > 1
        return builder(call) if several else BUILDERS[op](call)

    return build


def _not(call: Call) -> Expression:
    return _chosen(call.first, ZERO, ONE)


SWITCHES: Mapping[str, Callable[[Call], Expression]] = {
    **dict.fromkeys(("Greater", "GreaterOrEqual"), _above),
    **dict.fromkeys(
        ("Less", "LessOrEqual"), lambda call: _above(Call(node=call.node, operands=call.operands[1::-1]))
    ),
    "Not": _not,
    "And": lambda call: _chosen(call.operand(0), call.operand(1), ZERO),
    "Or": lambda call: _chosen(call.operand(0), ONE, call.operand(1)),
    "Where": lambda call: _chosen(call.operand(0), call.operand(1), call.operand(2)),
    "Sign": lambda call: _switch(call.first, 0.0, number(-1.0), ONE),
    "Max": _of_several(_largest, "Max"),
    "Min": _of_several(_smallest, "Min"),
    "Sum": lambda call: reduce(add, call.given),
    "Mean": lambda call: reduce(add, call.given) / float(len(call.given)),
}
"""Operators beside `BUILDERS`, or with more operands; those of comparisons give zeros and ones."""
LOGICAL = frozenset(("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or"))
