"""The page: headline, curve, radii, why, and the command that does it again."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.renderers.certification import words
from convsv_cli.renderers.certification.svg import Chart, chart_of
from convsv_cli.renderers.html.facts import Facts
from convsv_cli.renderers.html.headline import INFO, PASS, SYMBOLS, WARN, Headline, Tile
from convsv_cli.renderers.html.page import page
from convsv_cli.renderers.html.words import times
from convsv_cli.renderers.numbers import LOWER, figure
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import BOUNDED, TOLERANCE, UPPER, Certification
from convsv_cli.sanitize import printable


@dataclass(frozen=True, kw_only=True)
class Row:
    """A radius asked for."""

    eps: str
    certified: str
    certified_count: str
    robust: str


@dataclass(frozen=True, kw_only=True)
class View:
    """What the template shows."""

    version: str
    path: str
    subtitle: str
    headline: Headline
    tiles: tuple[Tile, ...]
    chart: Chart
    levels: tuple[Row, ...]
    radii: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]
    routes: tuple[str, ...]
    attack: str
    blocks: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]
    model: Facts
    settings: Facts
    command: str


def render(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every text from a file is inert in it."""
    return page("certification.html", view=view_of(certification)) + "\n"


def view_of(certification: Certification) -> View:
    """As the page shows it."""
    total = len(certification.samples)
    _, _, subtitle = words.title(certification).partition(" · ")
    return View(
        version=certification.version,
        path=certification.model.path,
        subtitle=subtitle,
        headline=_headline(certification),
        tiles=tuple(_tiles(certification)),
        chart=chart_of(certification),
        levels=tuple(
            Row(
                eps=f"{level.eps:.6g}",
                certified=words.share(level.certified, total, LOWER),
                certified_count=f"{level.certified:,} of {total:,}",
                robust="" if level.robust is None else words.share(level.robust, total, UPPER),
            )
            for level in certification.levels
        ),
        radii=tuple((words.quantile(q), words.radius(r)) for q, r in certification.quantiles),
        reasons=tuple(words.reasons(certification)),
        routes=tuple(map(words.route, certification.routes)),
        attack="" if certification.attack is None else words.attack(certification.attack),
        blocks=tuple(
            (block.name, figure(block.factor, UPPER), _percent(block.share))
            for block in certification.bound.blocks
            if certification.bound.status == BOUNDED
        ),
        notes=certification.notes,
        model=_model(certification),
        settings=_settings(certification),
        command=command_of(certification),
    )


def command_of(certification: Certification) -> str:
    """The command line that gives the same figures, for a POSIX shell."""
    return shlex.join([printable(word) for word in _command(certification)])


def _headline(certification: Certification) -> Headline:
    level = certification.levels[0]
    total = len(certification.samples)
    tone = PASS if level.certified > words.FEW * certification.correct else WARN
    tone = INFO if not certification.correct else tone
    return Headline(
        tone=tone,
        symbol=SYMBOLS[tone],
        title=f"{words.share(level.certified, total, LOWER)} certified at radius {level.eps:.6g}",
        text=(
            f"{level.certified:,} of {total:,} samples are classified rightly, and provably stay so wherever "
            f"they move by at most {level.eps:.6g} in the Euclidean norm."
        ),
    )


def _tiles(certification: Certification) -> Iterator[Tile]:
    total, bound = len(certification.samples), certification.bound
    yield Tile(
        label="clean accuracy",
        value=words.share(certification.correct, total),
        note=f"{certification.correct:,} of {total:,}",
    )
    for level in certification.levels:
        if level.robust is not None:
            yield Tile(
                label=f"robust to PGD at {level.eps:.6g}",
                value=words.share(level.robust, total, UPPER),
                note="an upper bound",
            )
    if certification.radii:
        median = certification.radii[(certification.correct - 1) // 2]
        yield Tile(label="median radius", value=words.radius(median), note="of samples that are right")
    known = bound.status == BOUNDED
    yield Tile(
        label="Lipschitz bound of the network",
        value=figure(bound.lipschitz, UPPER) if known else "none",
        note="certified" if known else bound.status,
    )


def _model(certification: Certification) -> Facts:
    model = certification.model
    return (
        ("Path", model.path),
        ("Format", model.format + (f", opset {model.opset}" if model.opset is not None else "")),
        ("Inputs", ", ".join(f"{name} {times(shape)}" for name, shape in model.input_shape)),
        ("SHA-256", model.sha256),
    )


def _settings(certification: Certification) -> Facts:
    settings = certification.settings
    facts = {
        "Data": settings.data,
        "Graph": settings.graph,
        "Mean": ", ".join(f"{value:.4g}" for value in settings.input_mean),
        "Standard deviation": ", ".join(f"{value:.4g}" for value in settings.input_std),
        "Data are": "normalized already" if settings.normalized else "",
        "Input range": "" if settings.input_range is None else "{:.4g} to {:g}".format(*settings.input_range),
        "Tolerance of norms": f"{settings.tolerance:.4g}",
        "Time": f"{certification.seconds:.1f} s",
        "Tool": f"convsv {certification.version}",
    }
    return tuple((name, text) for name, text in facts.items() if text)


def _command(certification: Certification) -> Iterator[str]:
    settings, model = certification.settings, certification.model
    yield from ("convsv", "certify", model.path, "--data", settings.data)
    if settings.graph:
        yield from ("--graph", settings.graph)
    for eps in settings.eps:
        yield f"--eps={eps!r}"
    for name, values in (("--input-mean", settings.input_mean), ("--input-std", settings.input_std)):
        if values:
            yield f"{name}={','.join(map(repr, values))}"
    flags = {
        "--normalized": settings.normalized,
        f"--limit={settings.limit}": settings.limit is not None,
        "--attack": settings.attack,
        f"--tolerance={settings.tolerance!r}": settings.tolerance != TOLERANCE,
        f"--device={settings.device}": settings.device not in ("auto", "cpu"),
    }
    yield from (flag for flag, asked in flags.items() if asked)
    if settings.input_range is not None:
        yield "--input-range={!r},{!r}".format(*settings.input_range)


def _percent(share: float | None) -> str:
    return "" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"
