"""The page: headline, curve, radii, reasons, and the command that reproduces it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from convsv_cli.digits import short
from convsv_cli.names import printable
from convsv_cli.renderers.audit_text import about_routes
from convsv_cli.renderers.certification import text
from convsv_cli.renderers.certification.curve import chart_of, state
from convsv_cli.renderers.html.facts import Facts, model_facts
from convsv_cli.renderers.html.page import page
from convsv_cli.renderers.html.verdict import INFO, PASS, WARN, Headline, Tile
from convsv_cli.renderers.numbers import LOWER, figure, sample_share
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import BOUNDED, EUCLIDEAN, NORMAL, TOLERANCE, UPPER, Certification


def render(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every text from a file is inert in it."""
    total = len(certification.samples)
    _, _, subtitle = text.title(certification).partition(" · ")
    return page(
        "certification.html",
        c=certification,
        subtitle=subtitle,
        headline=_headline(certification),
        tiles=_tiles(certification),
        chart=chart_of(certification),
        levels=[
            (
                level.spelled,
                sample_share(level.certified, total, LOWER),
                f"{level.certified:,} of {total:,}",
                sample_share(level.undecided, total),
                "not tried" if level.attacked is None else sample_share(level.attacked, total),
                "not tried" if level.robust is None else sample_share(level.robust, total, UPPER),
            )
            for level in certification.levels
        ],
        radii=[(text.quantile(q), text.radius(r)) for q, r in certification.quantiles],
        reasons=text.reasons(certification),
        routes=text.ways(certification),
        routes_said=about_routes(certification.bound.blocks),
        attack="" if certification.attack is None else text.attack(certification.attack),
        model=model_facts(certification.model),
        settings=_settings(certification),
        command=command_of(certification),
    )


def command_of(certification: Certification) -> str:
    """The command line that gives the same figures, for a POSIX shell."""
    return shlex.join([printable(word) for word in _command(certification)])


def _headline(certification: Certification) -> Headline:
    level = certification.levels[0]
    norm = "Euclidean" if certification.settings.norm == EUCLIDEAN else "maximum"
    kept = f"provably remain so under every perturbation of at most {level.spelled} in the {norm} norm."
    total, said = len(certification.samples), state(certification)
    tone = PASS if level.certified > text.FEW * certification.correct else WARN
    tone = INFO if not certification.correct else WARN if said else tone
    return Headline(
        tone=tone,
        title=f"{sample_share(level.certified, total, LOWER)} certified at radius {level.spelled}",
        text=f"{level.certified:,} of {total:,} samples are classified correctly, and {kept}"
        + (f" {said[0].upper()}{said[1:]}." if said else ""),
    )


def _tiles(certification: Certification) -> Iterator[Tile]:
    total, bound = len(certification.samples), certification.bound
    yield Tile(
        label="clean accuracy",
        value=sample_share(certification.correct, total),
        note=f"{certification.correct:,} of {total:,}",
    )
    for level in certification.levels:
        if level.robust is not None:
            yield Tile(
                label=f"robust to PGD at {level.spelled}",
                value=sample_share(level.robust, total, UPPER),
                note="an upper bound",
            )
    if certification.radii:
        median = certification.radii[(certification.correct - 1) // 2]
        yield Tile(label="median radius", value=text.radius(median), note="of correctly classified samples")
    known = bound.status == BOUNDED
    yield Tile(
        label="Lipschitz bound of the network",
        value=figure(bound.lipschitz, UPPER) if known else "none",
        note="certified" if known else bound.status,
    )


def _settings(certification: Certification) -> Facts:
    settings = certification.settings
    facts = {
        "Data": settings.data,
        "Graph": settings.graph,
        "Input of the samples": settings.source,
        "Output of the logits": settings.target,
        "Mean": ", ".join(short(value, 4) for value in settings.input_mean),
        "Standard deviation": ", ".join(short(value, 4) for value in settings.input_std),
        "Normalization": "already applied to the data" if settings.normalized else "",
        "Input range": _range(settings.input_range),
        "Range of samples": _range(settings.pixel_range),
        "Distances": text.MEASURES[settings.norm],
        "Arithmetic of the network": settings.arithmetic,
        "Effort for local certificates": settings.effort,
        "Tolerance of norms": short(settings.tolerance, 4),
        "Effort for the network": settings.network_effort,
        "Time": f"{certification.seconds:.1f} s",
        "Tool": f"convsv {certification.version}",
    }
    return tuple((name, said) for name, said in facts.items() if said)


def _range(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else " to ".join(map(short, ends))


def _command(certification: Certification) -> Iterator[str]:
    settings, model = certification.settings, certification.model
    yield from ("convsv", "certify", model.path, "--data", settings.data)
    if settings.graph:
        yield from ("--graph", settings.graph)
    for option, name in (("--from", settings.source), ("--to", settings.target)):
        if name:
            yield from (option, name)
    for eps in settings.eps_given or map(repr, settings.eps):
        yield f"--eps={eps}"
    for name, values in (("--input-mean", settings.input_mean), ("--input-std", settings.input_std)):
        if values:
            yield f"{name}={','.join(map(repr, values))}"
    flags = {
        "--normalized": settings.normalized,
        f"--limit={settings.limit}": settings.limit is not None,
        "--attack": settings.attack,
        f"--tolerance={settings.tolerance!r}": settings.tolerance != TOLERANCE,
        "--radii": settings.radii,
        f"--effort={settings.effort}": settings.effort != NORMAL,
        f"--arithmetic={settings.arithmetic}": bool(settings.arithmetic),
        f"--norm={settings.norm}": settings.norm != EUCLIDEAN,
        f"--network-effort={settings.network_effort}": settings.network_effort != NORMAL,
        f"--device={settings.device}": settings.device not in ("auto", "cpu"),
    }
    yield from (flag for flag, asked in flags.items() if asked)
    if settings.pixel_range is not None:
        yield "--pixel-range={!r},{!r}".format(*settings.pixel_range)
    if settings.input_range is not None:
        yield "--input-range={!r},{!r}".format(*settings.input_range)
