"""The picture of a trend in pixels, as slides take it: by matplotlib, where that is installed."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from convsv_cli.errors import UsageError
from convsv_cli.names import inert
from convsv_cli.renderers.html.course import (
    WIDTH,
    Course,
    Panel,
    courses_of,
    headline_of_trend,
    laid_out,
    steps_of,
)
from convsv_cli.renderers.notebook import INSTALL, MISSING
from convsv_cli.renderers.renderer import Picture
from convsv_cli.report import Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTS = 2
"""Pixels for a unit of the picture that `svg` draws."""
POINTS = 72 / 96
"""Per unit, in which sizes of text and of lines are."""
HIGHEST = 16_000
"""Units: what is higher takes a gigabyte, and no viewer shows it."""
TEXT, SMALL = 13 * POINTS, 10 * POINTS
INK, GREY, GRID, LINE, LIMIT = "#15191f", "#515b69", "#e6e9ee", "#0b57a4", "#b3201b"


def drawn(trend: Trend) -> bytes:
    """A PNG of the charts of `trend.svg`, on white.

    Raises:
        UsageError: matplotlib is not installed, or there are too many layers for a picture.
    """
    trend = inert(trend)
    network, layers = courses_of(trend, steps_of(trend.names))
    every = (*filter(None, [network]), *layers)
    panels, height = laid_out(every)
    if height > HIGHEST:
        what = f"{len(layers):,} layers are too many for a picture in pixels"
        raise UsageError(what, hint="choose some with --layers, or write .svg or .html")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(MISSING.format("matplotlib"), hint=f"{INSTALL}, or write .svg") from error
    figure = Figure(figsize=(WIDTH / 96, height / 96), dpi=96 * DOTS)
    for panel in panels:
        bottom = height - panel.y - panel.height
        sides = panel.x / WIDTH, bottom / height, panel.width / WIDTH, panel.height / height
        _chart(figure.add_axes(sides), panel)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a box stands for what the font lacks
        figure.savefig(file, format="png", metadata={"Description": headline_of_trend(trend, every).text})
    return file.getvalue()


def _chart(axes: Axes, panel: Panel) -> None:
    """In percent of both sides, from the top, as courses are."""
    course = panel.course
    axes.set(xlim=(0, 100), ylim=(100, 0))
    ticks = course.scale.ticks if not course.name else course.scale.ticks[:: -(-len(course.scale.ticks) // 4)]
    axes.set_yticks([100 - tick.at for tick in ticks], [tick.label for tick in ticks])
    axes.set_xticks([at for at, _ in course.numbers], [label for _, label in course.numbers])
    axes.grid(color=GRID, linewidth=POINTS)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=GREY)
    axes.spines[:].set_visible(False)
    for path, color, style in ((course.limit, LIMIT, "--"), (course.line, LINE, "-")):
        for places in _pieces(path):
            axes.plot(*zip(*places, strict=True), style, color=color, linewidth=2 * POINTS, clip_on=False)
    for above, color, shape in ((False, LINE, "o"), (True, LIMIT, "s")):
        places = [(stop.at, stop.top) for stop in course.stops if stop.exceeds is above]
        if places:
            axes.plot(*zip(*places, strict=True), shape, color=color, markersize=5 * POINTS, clip_on=False)
    title = axes.set_title(_titled(panel.title, course), loc="left", fontsize=TEXT, pad=8 * POINTS)
    title.set(color=LIMIT if course.crossed else INK, parse_math=False)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)


def _titled(title: str, course: Course) -> str:
    return f"{title} above its limit" if course.crossed else title


def _pieces(path: str) -> list[list[tuple[float, float]]]:
    """The points of each piece of a path, "M1 2L3 4M5 6"."""
    pieces = [piece.split("L") for piece in path.split("M")[1:]]
    return [[(float(x), float(y)) for x, y in map(str.split, piece)] for piece in pieces]


PICTURE: Picture[Trend] = Picture(name="png", suffixes=(".png",), draw=drawn)
