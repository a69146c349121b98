"""Functions of one number, rewritten where interval bounds of what is written say nothing, or too much.

*Quotients of sums of exponentials.* At large x, (e^x - e^-x) / (e^x + e^-x) is inf / inf to intervals. Let a
denominator D have positive terms t_j, and a numerator N r_j t_j; r takes the values r_1 < ... < r_m. Then

    N / D = r_1 + sum_k (r_k - r_(k-1)) sigmoid(log P_k - log R_k),

where P_k is the sum of the t_j with r_j >= r_k, and R_k that of the others: the sigmoid is P_k / (P_k + R_k).
And log(t + T) = log t + softplus(log T - log t), so that no logarithm of a sum overflows.

*Limits of increasing functions.* The kinks of relu(x) + min(e^x - 1, 0) cancel at x = 0, which intervals near
0 do not know. For increasing P, min(P(u), P(t)) is P(min(u, t)), and where t is exact, so is the kink.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise

from convsv_cli.lipschitz.scalar.expressions import Expression, number

MOST_TERMS = 8  # of a sum of exponentials
HIGHEST_POWER = 4
ONE = number(1.0)
Sum = dict[Fraction, Fraction]
"""Of c e^(a v) over all terms, c by a, for one expression v; a is 0 for a number."""
Limit = Fraction | float  # a float where it is infinite
INFINITE = math.inf
INCREASING: Mapping[str, tuple[Limit, Fraction, Limit]] = {
    "Exp": (Fraction(0), Fraction(1), INFINITE),
    "Sigmoid": (Fraction(0), Fraction(1, 2), Fraction(1)),
    **dict.fromkeys(("Tanh", "Erf", "Softsign"), (Fraction(-1), Fraction(0), Fraction(1))),
    **dict.fromkeys(("Asinh", "Sinh"), (-INFINITE, Fraction(0), INFINITE)),
}
"""The infimum, the value at 0, and the supremum of increasing functions of all numbers."""


def product(first: Expression, second: Expression) -> Expression:
    """A product; as sigmoids where it is a quotient of sums of exponentials.

    Args:
        first, second: the factors.
    """
    for whole, inverse in ((first, second), (second, first)):
        found = _over(whole, _inverted(inverse))
        if found is not None:
            return found
    return first * second


def quotient(first: Expression, second: Expression) -> Expression:
    """A quotient, likewise.

    Args:
        first: the numerator.
        second: the denominator.
    """
    found = _over(first, _terms(second))
    if found is not None:
        return found
    return second.apply("Reciprocal") if first == ONE else first / second


def clipped(u: Expression, lower: float, upper: float) -> Expression:
    """min(max(u, lower), upper), of what increasing functions are of where that says the same.

    Args:
        u: what is limited.
        lower, upper: its limits, which may be infinite.
    """
    found = pushed(u, lower, upper)
    return u.apply("Clip", lower, upper) if found is None else found


def pushed(u: Expression, lower: float, upper: float) -> Expression | None:
    """The same, only where it is of what increasing functions are of; else None.

    Args:
        u: what is limited.
        lower, upper: its limits, which may be infinite.
    """
    return _pushed(u, _exact(lower), _exact(upper)) if lower < upper else None


def _exact(value: float) -> Limit:
    return Fraction(value) if math.isfinite(value) else value


def _pushed(u: Expression, lower: Limit, upper: Limit) -> Expression | None:
    if u.op in INCREASING:
        ends = [_preimage(limit, *INCREASING[u.op]) for limit in (lower, upper)]
        known = [end for end in ends if end is not None]
        inside = len(known) == len(ends) and known[0] < known[1]
        return u.operands[0].apply("Clip", *known).apply(u.op) if inside else None
    parted = _constant_operand(u)
    if parted is None:
        return None
    part, value = parted
    c = Fraction(value)
    if u.op == "Add":
        found = _pushed(part, lower - c, upper - c)
        return None if found is None else found + value
    if c == 0:
        return None
    first, last = (lower / c, upper / c) if c > 0 else (upper / c, lower / c)
    found = _pushed(part, first, last)
    return None if found is None else found * value


def _preimage(limit: Limit, lowest: Limit, middle: Fraction, highest: Limit) -> float | None:
    """Where an increasing function reaches a limit: nowhere, at 0, or at a place that is no simple number."""
    if limit <= lowest:
        return -math.inf
    if limit >= highest:
        return math.inf
    return 0.0 if limit == middle else None


def _constant_operand(u: Expression) -> tuple[Expression, float] | None:
    """The other operand of a sum or product with a number, and the number."""
    if u.op not in ("Add", "Mul"):
        return None
    for part, constant in (u.operands, u.operands[::-1]):
        if constant.constant and not part.constant:
            return part, constant.numbers[0]
    return None


Terms = tuple[Expression | None, Sum]
"""What the exponents are multiples of, None where there are none; and the sum."""


def _over(numerator: Expression, denominator: Terms | None) -> Expression | None:
    """N / D times the factors of the numerator that are no sums of exponentials; None where D is none."""
    if denominator is None or denominator[0] is None:
        return None
    above = _terms(numerator)
    if above is not None:
        return _joined(above, denominator)
    if numerator.op == "Mul":
        for factor, others in (numerator.operands, numerator.operands[::-1]):
            found = None if factor.constant else _over(factor, denominator)
            if found is not None:
                return others * found
    return None


def _inverted(part: Expression) -> Terms | None:
    """The D that a factor is 1 / D of."""
    if part.op == "Reciprocal":
        return _terms(part.operands[0])
    if part.op == "Sigmoid":  # 1 / (1 + e^-u)
        factor, v = _multiple(part.operands[0])
        return v, {Fraction(0): Fraction(1), -factor: Fraction(1)}
    return None


def _terms(part: Expression) -> Terms | None:
    """A function as a sum of exponentials; None where it is none."""
    if part.constant:
        return (None, {Fraction(0): Fraction(part.numbers[0])}) if math.isfinite(part.numbers[0]) else None
    if part.op == "Exp":
        factor, v = _multiple(part.operands[0])
        return v, {factor: Fraction(1)}
    if part.op == "Pow" and part.numbers[0] in range(2, HIGHEST_POWER + 1):
        whole = base = _terms(part.operands[0])
        for _ in range(int(part.numbers[0]) - 1):
            whole = _combined("Mul", whole, base)
        return whole
    if part.op in ("Add", "Mul"):
        return _combined(part.op, *map(_terms, part.operands))
    return None


def _combined(op: str, first: Terms | None, second: Terms | None) -> Terms | None:
    if first is None or second is None or (first[0] and second[0] and first[0] != second[0]):
        return None
    if op == "Add":
        pairs = [*first[1].items(), *second[1].items()]
    else:
        pairs = [(a + b, c * d) for a, c in first[1].items() for b, d in second[1].items()]
    found: Sum = {}
    for a, c in pairs:
        found[a] = found.get(a, Fraction(0)) + c
    found = {a: c for a, c in found.items() if c}
    return (first[0] or second[0], found) if len(found) <= MOST_TERMS else None


def _multiple(u: Expression) -> tuple[Fraction, Expression]:
    """A number and an expression that u is the product of."""
    parted = _constant_operand(u) if u.op == "Mul" else None
    if parted is None:
        return Fraction(1), u
    factor, v = _multiple(parted[0])
    return Fraction(parted[1]) * factor, v


def _joined(above: Terms, below: Terms) -> Expression | None:
    """The quotient of two sums of exponentials, where all terms of the second one are positive."""
    v, terms = below
    if v is None or above[0] not in (None, v) or len(terms) < 2 or not above[1].keys() <= terms.keys():
        return None
    if min(terms.values()) <= 0:
        return None
    ratios = {a: above[1].get(a, Fraction(0)) / c for a, c in terms.items()}
    levels = sorted(set(ratios.values()))
    whole = number(float(levels[0]))
    for low, high in pairwise(levels):
        larger = [(a, c) for a, c in sorted(terms.items()) if ratios[a] >= high]
        others = [(a, c) for a, c in sorted(terms.items(), reverse=True) if ratios[a] < high]
        odds = _log_ratio(larger, others, v)
        if odds is None:
            return None
        gate = odds.apply("Sigmoid") * float(high - low)
        whole = gate if whole == number(0.0) else gate + whole
    return whole


def _log_ratio(
    first: list[tuple[Fraction, Fraction]], second: list[tuple[Fraction, Fraction]], v: Expression
) -> Expression | None:
    """log(P / R), of sums with positive terms.

    The slowest term of P is taken out of it, and the fastest of R: all parts increase where P outgrows R.
    """
    (a, c), (b, d) = first[0], second[0]
    whole = _log_term(a - b, c / d, v)
    above, below = _log_rest(first, v), _log_rest(second, v)
    if whole is None or above is None or below is None:
        return None
    return _sum((whole, above, below * -1.0))


def _log_rest(terms: list[tuple[Fraction, Fraction]], v: Expression) -> Expression | None:
    """The logarithm of a sum over its first term."""
    (a, c), *others = terms
    if not others:
        return number(0.0)
    rest = [(b - a, d / c) for b, d in others]
    first, inner = _log_term(*rest[0], v), _log_rest(rest, v)
    return None if first is None or inner is None else _sum((first, inner)).apply("Softplus")


def _sum(parts: Iterable[Expression]) -> Expression:
    """Of what is not zero, though perhaps times a number."""
    kept = [part for part in parts if not any(each == number(0.0) for each in (part, *part.operands))]
    whole = kept[0] if kept else number(0.0)
    for part in kept[1:]:
        whole = whole + part
    return whole


def _log_term(a: Fraction, c: Fraction, v: Expression) -> Expression | None:
    """log(c e^(a v)); None where the logarithm of c is not known to the last digits."""
    scaled = number(0.0) if a == 0 else v if a == 1 else v * float(a)
    if c == 1:
        return scaled
    for value, sign in ((c, 1.0), (1 / c, -1.0)):
        if (
            Fraction(float(value)) == value
        ):  # else its rounding might be all that there is of a small logarithm
            return _sum((scaled, number(sign * math.log(value))))
    return None
