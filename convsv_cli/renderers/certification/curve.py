"""What is certified, undecided and attacked at each radius: staircases, as points and as a picture.

The picture is SVG without scripts, fonts or links, in light and dark.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.deadline import WORDS
from convsv_cli.digits import short
from convsv_cli.renderers.html.page import filled
from convsv_cli.renderers.numbers import LOWER, sample_share
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import INTERRUPTED, TIME_LIMIT, UPPER, Certification, Level

Stairs = list[tuple[float, float]]
"""Corners in the picture's own units, from the left to the right."""

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 44, 52
KEY, SWATCH = 128, 14
"""Width of an entry of the legend, and the side of its square."""
PLACES = 200
CERTIFIED, UNDECIDED, ATTACKED, WRONG = "certified", "undecided", "attacked", "wrong"
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
class Band:
    """The samples that are of one kind.

    Attributes:
        name: the kind.
        area: as the path data of SVG.
        x: of its entry in the legend.
    """

    name: str
    area: str
    x: int


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A curve in the picture's own units.

    Attributes:
        line: the staircase of what is certified, as the path data of SVG.
        bands: from the bottom to the top, which together are all samples.
        across: ticks of the radius.
        up: ticks of the accuracy.
        proven, seen: at the requested radii: certified, and robust to the attack.
        words: what it shows, for those who do not see it.
    """

    line: str
    bands: tuple[Band, ...]
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
    swatch: int = SWATCH


def picture(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """The picture, which ends with a line break."""
    return filled("curve.svg", chart=chart_of(certification), alone=True)


def chart_of(certification: Certification) -> Chart:
    """As it is drawn."""
    end, total = last_radius(certification), len(certification.samples)
    shown = [level for level in certification.levels if level.eps <= end]
    proven = tuple(
        _mark(level.eps / end, level.certified, total, f"certified at {level.spelled}", LOWER)
        for level in shown
    )
    seen = tuple(
        _mark(level.eps / end, level.robust, total, f"robust to PGD at {level.spelled}", UPPER)
        for level in shown
        if level.robust is not None
    )
    return Chart(
        line=f"M{_path(_certified(certification, end))}",
        bands=tuple(_bands(certification, end)),
        across=tuple(Mark(x=_across(t, end), y=HEIGHT - BOTTOM, words=short(t, 4)) for t in ticks(end)),
        up=tuple(Mark(x=LEFT, y=_up(t / 5), words=f"{20 * t} %") for t in range(6)),
        proven=proven,
        seen=seen,
        words="; ".join(
            [
                *filter(None, [state(certification)]),
                f"clean accuracy {sample_share(certification.correct, total)}",
                *(_shares(level, total) for level in certification.levels),
            ]
        ),
    )


def _bands(certification: Certification, end: float) -> Iterator[Band]:
    """What is between two staircases each; there are no attacked samples where no attack was made."""
    total = len(certification.samples)
    edges = {CERTIFIED: _certified(certification, end), UNDECIDED: _robust(certification, end)}
    if certification.attack is not None and not certification.attack.failure:
        edges[ATTACKED] = _level(certification.correct / total)
    edges[WRONG] = _level(1.0)
    below = _level(0.0)
    for number, (name, above) in enumerate(edges.items()):
        yield Band(name=name, area=f"M{_path(above)}L{_path(below[::-1])}Z", x=LEFT + KEY * number)
        below = above


def _certified(certification: Certification, end: float) -> Stairs:
    """Between two places, as many as at the farther one: never more than are certified."""
    found = [(_across(0, end), _up(certification.correct / len(certification.samples)))]
    for point in points(certification, PLACES)[1:]:
        x, y = _across(point.radius, end), _up(point.share)
        found += [(found[-1][0], y), (x, y)]
    return found


def _robust(certification: Certification, end: float) -> Stairs:
    """All that are right, less those that were broken within each radius."""
    total = len(certification.samples)
    found = [(_across(0, end), _up(certification.correct / total))]
    for level in certification.levels:
        if level.robust is not None and level.eps <= end:
            x = _across(level.eps, end)
            found += [(x, found[-1][1]), (x, _up(level.robust / total))]
    return [*found, (_across(end, end), found[-1][1])]


def _level(share: float) -> Stairs:
    return [(LEFT, _up(share)), (WIDTH - RIGHT, _up(share))]


def _path(stairs: Stairs) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in stairs)


def _shares(level: Level, total: int) -> str:
    """At a radius, in words."""
    kinds = [
        f"certified {sample_share(level.certified, total, LOWER)}",
        f"undecided {sample_share(level.undecided, total)}",
    ]
    if level.attacked is not None:
        kinds.append(f"attacked {sample_share(level.attacked, total)}")
    return f"at radius {level.spelled}: {', '.join(kinds)}"


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


def state(certification: Certification) -> str:
    """What there is to say of a certification that is not complete; empty where it is."""
    if certification.complete:
        return ""
    total, unfinished = len(certification.samples), certification.unfinished
    stopped = TIME_LIMIT if certification.timed_out else INTERRUPTED if certification.interrupted else ""
    why = WORDS[stopped] or "still at work"
    if not unfinished:
        return f"{why}: all radii are final, but no attack was made to its end"
    left = f"{unfinished:,} of {total:,} samples"
    return f"{why}: what is proven holds, but not all has been tried for {left}, of which more may be proven"
