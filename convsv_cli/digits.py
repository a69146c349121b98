"""Numbers as people read them, in one style wherever they are: 4.19e9 beside 1e9, and 12.5 beside 0.004."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal

FIXED = range(-3, 5)
"""Powers of ten of the first digit of numbers that are written without an exponent."""


def written(number: Decimal) -> str:
    """All digits of a number, those at the end that are zero, too."""
    exponent = number.adjusted()
    if not number or exponent in FIXED:
        return f"{number:f}"
    return f"{number.scaleb(-exponent):f}e{exponent}"


def short(value: float, digits: int = 6, rounding: str = ROUND_HALF_EVEN) -> str:
    """To so many significant digits, without zeros at the end.

    Args:
        value: any number, infinite ones and NaN as well.
        digits: at most.
        rounding: of `decimal`.
    """
    if not math.isfinite(value):
        return str(value)
    number = Context(prec=digits, rounding=rounding).create_decimal(repr(float(value)))
    return written(number.normalize(Context(prec=digits)))
