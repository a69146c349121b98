"""Functions of one number by mpmath, to as many digits as it works with."""

from __future__ import annotations

import mpmath

from convsv_cli.lipschitz.scalar.expressions import Expression

FUNCTIONS = {
    "Sigmoid": lambda u: 1 / (1 + mpmath.exp(-u)),
    "Softplus": lambda u: mpmath.log1p(mpmath.exp(u)),
    "Softsign": lambda u: u / (1 + abs(u)),
    "Reciprocal": lambda u: 1 / u,
    "Pow": lambda u, p: u**p,
    "LeakyRelu": lambda u, left, right: left * u if u < 0 else right * u,
    "Clip": lambda u, low, high: min(max(u, mpmath.mpf(low)), mpmath.mpf(high)),
    "Elu": lambda u, alpha: u if u > 0 else alpha * mpmath.expm1(u),
    "Hypot": lambda u, square: mpmath.sqrt(u * u + mpmath.mpf(square)),
    "ClippedLength": lambda u, low, high: mpmath.sqrt(min(max(u * u, mpmath.mpf(low)), mpmath.mpf(high))),
}


def function(op: str, numbers: tuple[float, ...], u: mpmath.mpf) -> mpmath.mpf:
    """A primitive."""
    return FUNCTIONS.get(op, getattr(mpmath, op.lower(), None))(u, *numbers)


def evaluated(expression: Expression, x: mpmath.mpf) -> mpmath.mpf:
    """An expression."""
    if expression.op == "x":
        return x
    if expression.op == "constant":
        return mpmath.mpf(expression.numbers[0])
    operands = [evaluated(operand, x) for operand in expression.operands]
    if expression.op == "Add":
        return operands[0] + operands[1]
    if expression.op == "Mul":
        return operands[0] * operands[1]
    return function(expression.op, expression.numbers, operands[0])
