"""A certification for people to read in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from convsv_cli.renderers.certification import words
from convsv_cli.renderers.certification.curve import points
from convsv_cli.renderers.numbers import LOWER, counted
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import UPPER, Certification, Level
from convsv_cli.sanitize import inert

ROWS, BAR = 11, 40
LEGEND = (
    "certified: right, and proven to stay so wherever the sample moves by at most the radius (L2)",
    "robust to PGD: right, and the attack found nothing within the radius, an upper bound",
)


def render(certification: Certification, terminal: Terminal) -> str:
    """The document, which ends with a line break; texts from files are made inert here."""
    certification = inert(certification)
    lines = [
        words.title(certification),
        "",
        *_levels(certification),
        "",
        *_quantiles(certification),
        *_curve(certification),
        *(f"{each}." for each in _sentences(certification)),
        "",
        *LEGEND[: 1 if certification.attack is None else 2],
    ]
    del terminal  # colours would say nothing that the words do not
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _levels(certification: Certification) -> Iterator[str]:
    total, correct = len(certification.samples), certification.correct
    right = words.share(correct, total)
    yield f"  clean accuracy             {right:>9}   {correct:,} of {total:,}"
    for level in certification.levels:
        proven = words.share(level.certified, total, LOWER)
        yield f"  certified at {level.eps:<12.6g}  {proven:>9}   {level.certified:,} of {total:,}"
        if level.robust is not None:
            yield _robust(level, level.robust, total)


def _robust(level: Level, robust: int, total: int) -> str:
    seen = words.share(robust, total, UPPER)
    return f"  robust to PGD at {level.eps:<8.6g}  {seen:>9}   {robust:,} of {total:,}"


def _quantiles(certification: Certification) -> Iterator[str]:
    if not certification.radii:
        return
    names = [words.quantile(level) for level, _ in certification.quantiles]
    values = [words.radius(value) for _, value in certification.quantiles]
    widths = [max(map(len, pair)) for pair in zip(names, values, strict=True)]
    right = "that is right" if certification.correct == 1 else "that are right"
    yield f"  radii of the {counted(certification.correct, 'sample')} {right}"
    for row in (names, values):
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    yield ""


def _curve(certification: Certification) -> Iterator[str]:
    """A line a radius; nothing where nothing is certified."""
    if not any(certification.radii):
        return
    total = len(certification.samples)
    yield "  certified accuracy by radius"
    for point in points(certification, ROWS):
        bar = "█" * round(BAR * point.share)
        yield f"  {point.radius:>10.4g}  {words.share(point.count, total, LOWER):>8}  {bar}"
    yield ""


def _sentences(certification: Certification) -> Iterator[str]:
    yield from words.reasons(certification)
    yield from map(words.route, certification.routes)
    if certification.attack is not None:
        yield words.attack(certification.attack)
    yield from (f"note: {note}" for note in certification.notes)
