"""Figures as people read them; an upper bound is rounded up, a lower one down."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal

from convsv_cli.digits import FIXED, short, written
from convsv_cli.names import printable
from convsv_cli.report import CERTIFIED, UPPER, Interval

LOWER = "lower"
NARROW = 1e-3
"""Relative width of an enclosure that is one number for people."""
"""The kind of a proven lower end."""
DIGITS = 4
LONGEST = 17
"""Digits that tell any float from all others."""
LEAST, ALMOST, MOST = 0.001, 0.9995, 10.0
"""Shares from which on tenths of percents say enough, are nearly 100, and say too much."""
ROUNDING = {UPPER: ROUND_CEILING, CERTIFIED: ROUND_CEILING, LOWER: ROUND_FLOOR}


def figure(value: float | None, kind: str = "", digits: int = DIGITS) -> str:
    """To `digits` significant digits; of a proven end, the closest such number that is proven too."""
    if value is None:
        return ""
    if math.isinf(value):
        return "overflow"
    if value == 0:
        return "0"
    rounding = ROUNDING.get(kind, ROUND_HALF_EVEN)
    rounded = Context(prec=digits, rounding=rounding).create_decimal_from_float(value)
    last = rounded.adjusted() - digits + 1
    if rounded.adjusted() in FIXED:
        last = min(0, last)
    return written(rounded.quantize(Decimal(1).scaleb(last), context=Context(prec=2 * LONGEST)))


def excess(measured: float, limit: float) -> str:
    """By how much one exceeds the other, for people."""
    if not math.isfinite(measured) or not limit:
        return "immeasurably above"
    ratio = measured / limit
    if math.isinf(ratio):
        return "immeasurably above"
    if ratio >= 2:
        return f"{short(ratio, 4)} times"
    return f"{short((measured - limit) / limit * 100, 3)} % above"


def whole_percent(share: float) -> str:
    """A share in whole percent: neither all nor nothing unless it is that."""
    whole = round(100 * share) if share in (0, 1) else min(99, max(1, round(100 * share)))
    return f"{whole} %"


def sample_share(part: int, whole: int, kind: str = "") -> str:
    """In percent, with two decimals: a proven share is rounded down, an upper bound up."""
    rounded = {LOWER: math.floor, UPPER: math.ceil}.get(kind, round)(10_000 * part / whole)
    return f"{rounded / 100:.2f} %"


def percent(share: float, kind: str = "") -> str:
    """A share or a relative width: to a tenth, with two digits where it is less, and four where it is large.

    An upper bound is rounded up; of others, only all is 100 %, and only nothing is 0 %.
    """
    rounding = ROUNDING.get(kind, ROUND_HALF_EVEN)
    if not share:
        return "0 %"
    if not LEAST <= share < MOST:
        digits = Context(prec=2 if share < LEAST else DIGITS, rounding=rounding)
        return f"{written(digits.multiply(Decimal(share), 100).normalize())} %"
    if kind != UPPER and ALMOST <= share < 1:
        return "above 99.9 %"
    return f"{(100 * Decimal(share)).quantize(Decimal('0.1'), rounding)} %"


def as_written(value: float) -> str:
    """A figure that users wrote, with all its digits."""
    return written(Decimal(repr(value)).normalize())


def counted(count: int, noun: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def times(sizes: Iterable[int | str]) -> str:
    """`3×224×224`."""
    return "×".join(printable(str(size)) for size in sizes)


def size(sizes: tuple[int, ...]) -> str:
    """One number where all axes are alike."""
    return str(sizes[0]) if len(set(sizes)) == 1 else times(sizes)


def enclosure(interval: Interval | None) -> str:
    """Both ends of what is enclosed; one figure where they are nearly the same."""
    if interval is None:
        return ""
    if interval.upper <= interval.lower * (1 + NARROW):
        return figure(interval.upper, UPPER)
    return f"{figure(interval.lower, LOWER)} … {figure(interval.upper, UPPER)}"
