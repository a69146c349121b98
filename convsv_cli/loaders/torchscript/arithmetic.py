"""Arithmetic of TorchScript's numbers, where it is not Python's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

MOST_POWER = 64
COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def power(a: float, b: float) -> float:
    """A power, which is a real number, of whole ones, too.

    Raises:
        ValueError, TypeError: it is none, or a high one.
    """
    if isinstance(a, int) and abs(b) > MOST_POWER:
        raise ValueError("a high power")
    found = a**b
    if not isinstance(found, int | float):
        raise TypeError("no real number")
    return float(found)


def times_below(a: float, b: float) -> float:
    """Whole times of b in a: of real numbers, torch rounds their quotient down, and Python does not.

    So 1.0 // 0.1 is 10, as 1.0 / 0.1 is once it is rounded; the real number 0.1 is above a tenth.
    """
    return a // b if isinstance(a, int) and isinstance(b, int) else float(math.floor(a / b))


def left(a: float, b: float) -> float:
    """What is left of these, as torch rounds it."""
    return a % b if isinstance(a, int) and isinstance(b, int) else math.fmod(math.fmod(a, b) + b, b)


def ordered(a: float) -> float:
    """A number that has a place among others.

    Raises:
        ValueError: it is NaN, of which torch says one thing before it optimises code, and another after that.
    """
    if math.isnan(a):
        raise ValueError("the order of what is no number")
    return a
