"""Certified figures over the steps of a training: a line per layer, and one of the network.

The charts have logarithmic axes of equal length, so that equal heights are equal ratios in all of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from convsv_cli.comparison.trends import growth
from convsv_cli.digits import short
from convsv_cli.renderers.html.axis import MARGIN, NARROWEST, Scale, Tick, log
from convsv_cli.renderers.html.verdict import FAIL, INFO, PASS, Headline
from convsv_cli.renderers.numbers import as_written, counted, figure
from convsv_cli.report import UPPER, Trend
from convsv_cli.report.comparison import Figures

LABELS, LONGEST = 8, 10
"""Of steps, below a chart: how many, and characters of each."""
WIDTH, LEFT, TOP, BETWEEN = 960, 56, 44, 64
SMALL, LARGE = (240, 96), (872, 200)
"""Width and height of a layer's chart in a picture, and of the network's."""
TITLE = 32
"""Characters of a layer's name, of which the last tell most."""
INDENT = 2.0
"""Percent of the width that are left at either end."""
MOST_STOPS = 20_000
"""Of a page: where there are more, only some say their figure."""
ENDS = re.compile(r"[0-9]*$"), re.compile(r"^[0-9]*")
NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A figure in a chart, in percent from the left and from the top, and in words with all digits."""

    at: float
    left: float
    width: float
    top: float
    exceeds: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class Course:
    """What became of a layer, or of the network, whose name is empty.

    Attributes:
        scale: upwards.
        line, limit: paths in percent of both sides; empty where there is nothing to draw.
        stops: those that say their figure.
        numbers: of steps: where they are, and what they are called.
        first, last, largest: figures; None for none.
        grown: the last as a multiple of the first.
        crossed: where its figure is above its limit; empty where it never is.
        above: whether it is so at the last step.
        words: all of it, for those who do not see it.
    """

    name: str
    scale: Scale
    line: str
    limit: str
    stops: tuple[Stop, ...]
    numbers: tuple[tuple[float, str], ...]
    first: float | None
    last: float | None
    largest: float | None
    grown: float | None
    crossed: str
    above: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A chart in a picture, in the picture's own units."""

    course: Course
    title: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The axis that all charts share: where each step is, how it is called in short, and some as ticks."""

    places: tuple[float, ...]
    labels: tuple[str, ...]

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """So many as there is room for."""
        every = max(1, math.ceil(len(self.places) / LABELS))
        pairs = list(zip(self.places, self.labels, strict=True))[::every]
        return tuple(Tick(at=at, label=label) for at, label in pairs)


def steps_of(names: Sequence[str]) -> Steps:
    """By their numbers where nothing else tells them apart, otherwise one after the other."""
    labels = _labels(names)
    numbers = [int(label) if NUMBER.fullmatch(label) else -1 for label in labels]
    if min(numbers, default=-1) < 0 or sorted(set(numbers)) != numbers:
        numbers = list(range(len(names)))
        labels = [label if 0 < len(label) <= LONGEST else str(i + 1) for i, label in enumerate(labels)]
    low, high = numbers[0], numbers[-1]
    places = tuple(
        50.0 if low == high else round(INDENT + (100 - 2 * INDENT) * (n - low) / (high - low), 2)
        for n in numbers
    )
    return Steps(places=places, labels=tuple(labels))


def courses_of(trend: Trend, steps: Steps) -> tuple[Course | None, tuple[Course, ...]]:
    """The network's, if it ever had a bound, and the layers'."""
    none: Figures = (None,) * len(trend.names)
    rows = [
        (name, figures, trend.limits[i] if trend.limits else none)
        for i, (name, figures) in enumerate(trend.layers)
    ]
    spans = [_ends(figures, limits) for _, figures, limits in rows]
    span = max((high - low for low, high in spans), default=0.0)
    every = max(1, math.ceil(len(trend.names) * len(rows) / MOST_STOPS))
    layers = tuple(_course(trend, steps, row, span, every) for row in rows)
    network = ("", trend.network, trend.network_limits or none)
    low, high = _ends(*network[1:])
    has_bound = any(value is not None for value in trend.network)
    return _course(trend, steps, network, high - low, 1) if has_bound else None, layers


def laid_out(courses: Sequence[Course]) -> tuple[tuple[Panel, ...], int]:
    """The charts of a picture in rows, the network's in one of its own, and how high it is."""
    panels: list[Panel] = []
    x, y = LEFT, TOP
    for course in courses:
        width, height = SMALL if course.name else LARGE
        if x + width > WIDTH:
            x, y = LEFT, y + SMALL[1] + BETWEEN
        title = course.name if len(course.name) <= TITLE else f"…{course.name[1 - TITLE :]}"
        panels.append(Panel(course=course, title=title or "network", x=x, y=y, width=width, height=height))
        x, y = (x + width + LEFT, y) if course.name else (LEFT, y + height + BETWEEN)
    return tuple(panels), max((panel.y + panel.height for panel in panels), default=TOP) + TOP


def headline_of_trend(trend: Trend, courses: Sequence[Course]) -> Headline:
    """How many steps there are, what has grown, and what is above its limit at the last of them."""
    above = [course for course in courses if course.above]
    limited = any(course.limit for course in courses)
    said = [] if not limited else ["no figure is above its limit at the last step"]
    if above:
        names = ", ".join(course.name or "the network" for course in above[:3])
        more = f" and {len(above) - 3:,} more" if len(above) > 3 else ""
        said = [f"above its limit at the last step: {names}{more}"]
    network = None if trend.reason else growth(trend.network)
    norms = [course.grown for course in courses if course.name and course.grown is not None]
    ratios = [f"{short(network, 3)} of the network's bound"] if network is not None else []
    ratios += [f"{short(min(norms), 3)} to {short(max(norms), 3)} of the layers' norms"] if norms else []
    said += [f"last/first: {', '.join(ratios)}"] if ratios else []
    tone = FAIL if above else PASS if limited else INFO
    return Headline(tone=tone, title=counted(len(trend.names), "step"), text="; ".join(said) or "no figures")


def _course(trend: Trend, steps: Steps, row: tuple[str, Figures, Figures], span: float, every: int) -> Course:
    name, figures, limits = row
    low, high = _ends(figures, limits)
    half = max(span * (1 + 2 * MARGIN), NARROWEST) / 2
    scale = Scale(low=(low + high) / 2 - half, high=(low + high) / 2 + half)
    known = [(label, value) for label, value in zip(steps.labels, figures, strict=True) if value is not None]
    crossed = [
        label
        for label, value, limit in zip(steps.labels, figures, limits, strict=True)
        if value is not None and limit is not None and value > limit
    ]
    values = [value for _, value in known]
    last = figures[-1] if figures else None
    return Course(
        name=name,
        scale=scale,
        line=_path(steps.places, figures, scale),
        limit=_path(steps.places, limits, scale),
        stops=tuple(_stops(trend, steps, row, scale))[::every],
        numbers=tuple((tick.at, tick.label) for tick in steps.ticks),
        first=values[0] if values else None,
        last=values[-1] if values else None,
        largest=max(values, default=None),
        grown=growth(figures),
        crossed=_which(crossed),
        above=bool(crossed) and last is not None and crossed[-1] == steps.labels[-1],
        words=_words(name, known, crossed),
    )


def _stops(trend: Trend, steps: Steps, row: tuple[str, Figures, Figures], scale: Scale) -> Iterator[Stop]:
    """Each as wide as to the middle between it and its neighbours."""
    name, figures, limits = row
    at = steps.places
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(at)), 100.0]
    for i, (value, limit) in enumerate(zip(figures, limits, strict=True)):
        if value is None:
            continue
        exceeds = limit is not None and value > limit
        route = f", by {trend.routes[i]}" if not name and trend.routes and trend.routes[i] else ""
        held = (
            "" if limit is None else f", {'above' if exceeds else 'within'} its limit of {as_written(limit)}"
        )
        yield Stop(
            at=at[i],
            left=round(edges[i], 2),
            width=round(edges[i + 1] - edges[i], 2),
            top=_top(value, scale),
            exceeds=exceeds,
            words=f"{trend.names[i]}: certified ≤ {value!r}{route}{held}",
        )


def _path(places: Sequence[float], figures: Figures, scale: Scale) -> str:
    """A line through neighbours; what is missing interrupts it."""
    path, drawn = "", False
    for at, value in zip(places, figures, strict=True):
        if value is not None:
            path += f"{'L' if drawn else 'M'}{at:g} {_top(value, scale):g}"
        drawn = value is not None
    return path


def _top(value: float, scale: Scale) -> float:
    return round(100 - scale.at(log(value)), 2)


def _ends(figures: Figures, limits: Figures) -> tuple[float, float]:
    """The least and the largest logarithm of what is drawn; zero has none."""
    logs = [log(value) for value in (*figures, *limits) if value]
    return (min(logs), max(logs)) if logs else (0.0, 0.0)


def _words(name: str, known: Sequence[tuple[str, float]], crossed: Sequence[str]) -> str:
    what = name or "Bound of the network"
    if not known:
        return f"{what}: no figure."
    (first, start), (last, end) = known[0], known[-1]
    peak, largest = max(known, key=lambda each: each[1])
    above = f" Above its limit at {_which(crossed)}." if crossed else ""
    return (
        f"{what}: {figure(start, UPPER)} at step {first}, {figure(end, UPPER)} at step {last}, "
        f"{figure(largest, UPPER)} at most, at step {peak}.{above}"
    )


def _which(crossed: Sequence[str]) -> str:
    """Some steps, in words; the first and the last of many."""
    if len(crossed) <= 3:
        return ", ".join(crossed)
    return f"{crossed[0]}, {crossed[1]}, … {crossed[-1]} ({len(crossed):,} steps)"


def _labels(names: Sequence[str]) -> list[str]:
    """Names without what all of them begin and end with; numbers stay whole."""
    begin = ENDS[0].sub("", _beginning(names))
    rest = [name[len(begin) :] for name in names]
    end = ENDS[1].sub("", _beginning([name[::-1] for name in rest])[::-1])
    return [name[: len(name) - len(end)] or name for name in rest] if len(names) > 1 else list(names)


def _beginning(names: Sequence[str]) -> str:
    """What all of them begin with, which is what the first and the last in the alphabet do."""
    first, last = min(names), max(names)
    unlike = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(unlike, len(first))]
