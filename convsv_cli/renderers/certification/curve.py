"""Certified accuracy as a function of the radius: a staircase, at as many places as a reader can use."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from convsv_cli.report import Certification

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Point:
    """How many of all samples are certified at a radius, and the share; at 0, those that are right."""

    radius: float
    count: int
    share: float


def reach(certification: Certification) -> float:
    """Where the curve ends: at the largest radius, or at the largest one asked for if that is near."""
    finite = [radius for radius in certification.radii if math.isfinite(radius)]
    largest = max(finite, default=0.0)
    asked = max(certification.settings.eps)
    return asked if largest <= 0 else max(largest, asked if asked < 4 * largest else 0.0)


def points(certification: Certification, number: int) -> tuple[Point, ...]:
    """At `number` radii from 0 on, equally far apart."""
    end, total = reach(certification), len(certification.samples)
    radii = [end * (i / (number - 1)) for i in range(1, number)]
    counts = [certification.correct, *map(certification.certified, radii)]
    return tuple(
        Point(radius=radius, count=count, share=count / total)
        for radius, count in zip((0.0, *radii), counts, strict=True)
    )


def ticks(end: float, most: int = 6) -> tuple[float, ...]:
    """Round numbers from 0 to `end`, at most so many of them but 0."""
    raw = end / most
    if raw < sys.float_info.min:  # too small for steps
        return (0.0, end)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * each for each in STEPS if power * each >= raw * (1 - 1e-9))
    return tuple(step * i for i in range(int(end / step * (1 + 1e-9)) + 1))
