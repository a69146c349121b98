"""The curve as a picture of its own: SVG without scripts, fonts or links, in light and dark."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convsv_cli.renderers.certification import words
from convsv_cli.renderers.certification.curve import points, reach, ticks
from convsv_cli.renderers.html.page import filled
from convsv_cli.renderers.numbers import LOWER
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import UPPER, Certification

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 24, 52
PLACES = 200


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
        proven, seen: at the radii asked for: certified, and robust to the attack.
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


def render(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """The picture, which ends with a line break."""
    return filled("curve.svg", chart=chart_of(certification), alone=True) + "\n"


def chart_of(certification: Certification) -> Chart:
    """As it is drawn."""
    end, total = reach(certification), len(certification.samples)
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
                f"clean accuracy {words.share(certification.correct, total)}",
                *(mark.words for mark in (*proven, *seen)),
            ]
        ),
    )


def _mark(at: float, count: int, total: int, what: str, kind: str) -> Mark:
    """At a share of the way, so many of all samples; `kind` decides how that is rounded."""
    return Mark(x=_across(at, 1.0), y=_up(count / total), words=f"{what}: {words.share(count, total, kind)}")


def _across(radius: float, end: float) -> float:
    share = min(radius / end, 1.0) if math.isfinite(radius) else 1.0
    return round(LEFT + (WIDTH - LEFT - RIGHT) * share, 1)


def _up(share: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 1)
