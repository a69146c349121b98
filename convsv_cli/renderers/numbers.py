"""Figures as people read them; what is an upper bound is rounded up."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal

from convsv_cli.report import CERTIFIED, UPPER

DIGITS = 4
FIXED = range(-3, 5)


def figure(value: float | None, kind: str = "") -> str:
    """Four significant digits; of a proven upper bound the smallest such number that is not below it."""
    if value is None:
        return ""
    if math.isinf(value):
        return "overflow"
    if value == 0:
        return "0"
    rounding = ROUND_CEILING if kind in (UPPER, CERTIFIED) else ROUND_HALF_EVEN
    rounded = Context(prec=DIGITS, rounding=rounding).create_decimal_from_float(value)
    exponent = rounded.adjusted()
    if exponent in FIXED:
        return str(rounded.quantize(Decimal(1).scaleb(min(0, exponent - DIGITS + 1))))
    return f"{rounded.scaleb(-exponent).quantize(Decimal(1).scaleb(1 - DIGITS))}e{exponent:+03d}"


def excess(measured: float, limit: float) -> str:
    """By how much one is above the other, for people."""
    if not math.isfinite(measured) or not limit:
        return "immeasurably above"
    ratio = measured / limit
    return f"{(ratio - 1) * 100:.3g} % above" if ratio < 2 else f"{ratio:.4g} times"
