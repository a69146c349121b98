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


def whole_percent(share: float, space: str = " ") -> str:
    """A share in whole percent: neither all nor nothing unless it is that."""
    whole = round(100 * share) if share in (0, 1) else min(99, max(1, round(100 * share)))
    return f"{whole}{space}%"


def sample_share(part: int, whole: int, kind: str = "") -> str:
    """In percent, with two decimals: a proven share is rounded down, an upper bound up."""
    rounded = {LOWER: math.floor, UPPER: math.ceil}.get(kind, round)(10_000 * part / whole)
    return f"{rounded / 100:.2f} %"


def percent(share: float) -> str:
    """A share or a relative width: to a tenth, or two digits where it is less; 100 % only where it is all."""
    if not 0 < share < 1 or 0.001 <= share < 0.9995:
        return f"{share:.1%}"
    return "above 99.9%" if share > 0.5 else f"{short(100 * share, 2)}%"


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
