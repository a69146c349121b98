"""Certified accuracy as a function of the radius: a staircase, as points and as a picture of its own.

The picture is SVG without scripts, fonts or links, in light and dark.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from convsv_cli.renderers.html.page import filled
from convsv_cli.renderers.numbers import LOWER, sample_share
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import UPPER, Certification

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 24, 52
PLACES = 200
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Point:
    """How many of all samples are certified at a radius, and the share; at 0, those that are right."""

    radius: float
    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A place in the picture, in its own units, and what it says."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A curve in the picture's own units.

    Attributes:
        line: the staircase, as the path data of SVG.
        area: what is below it.
        across: ticks of the radius.
        up: ticks of the accuracy.
        proven, seen: at the requested radii: certified, and robust to the attack.
        words: what it shows, for those who do not see it.
    """

    line: str
    area: str
    across: tuple[Mark, ...]
    up: tuple[Mark, ...]
    proven: tuple[Mark, ...]
    seen: tuple[Mark, ...]
    words: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def picture(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """The picture, which ends with a line break."""
    return filled("curve.svg", chart=chart_of(certification), alone=True)


def chart_of(certification: Certification) -> Chart:
    """As it is drawn."""
    end, total = last_radius(certification), len(certification.samples)
    stairs = [(_across(p.radius, end), _up(p.share)) for p in points(certification, PLACES)]
    (x, y), *rest = stairs
    line = f"M{x:.1f} {y:.1f}" + "".join(f"V{y:.1f}H{x:.1f}" for x, y in rest)
    shown = [level for level in certification.levels if level.eps <= end]
    proven = tuple(
        _mark(level.eps / end, level.certified, total, f"certified at {level.eps:.6g}", LOWER)
        for level in shown
    )
    seen = tuple(
        _mark(level.eps / end, level.robust, total, f"robust to PGD at {level.eps:.6g}", UPPER)
        for level in shown
        if level.robust is not None
    )
    return Chart(
        line=line,
        area=f"{line}V{_up(0):.1f}H{_across(0, end):.1f}Z",
        across=tuple(Mark(x=_across(t, end), y=HEIGHT - BOTTOM, words=f"{t:.4g}") for t in ticks(end)),
        up=tuple(Mark(x=LEFT, y=_up(t / 5), words=f"{20 * t} %") for t in range(6)),
        proven=proven,
        seen=seen,
        words="; ".join(
            [
                f"clean accuracy {sample_share(certification.correct, total)}",
                *(mark.words for mark in (*proven, *seen)),
            ]
        ),
    )


def last_radius(certification: Certification) -> float:
    """Where the curve ends: at the largest radius, or at the largest requested one if that is near."""
    finite = [radius for radius in certification.radii if math.isfinite(radius)]
    largest = max(finite, default=0.0)
    asked = max(certification.settings.eps)
    return asked if largest <= 0 else max(largest, asked if asked < 4 * largest else 0.0)


def points(certification: Certification, number: int) -> tuple[Point, ...]:
    """At `number` radii from 0 on, equally far apart."""
    end, total = last_radius(certification), len(certification.samples)
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


def _mark(at: float, count: int, total: int, what: str, kind: str) -> Mark:
    """At a share of the way, so many of all samples; `kind` decides how that is rounded."""
    return Mark(x=_across(at, 1.0), y=_up(count / total), words=f"{what}: {sample_share(count, total, kind)}")


def _across(radius: float, end: float) -> float:
    share = min(radius / end, 1.0) if math.isfinite(radius) else 1.0
    return round(LEFT + (WIDTH - LEFT - RIGHT) * share, 1)


def _up(share: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 1)
