"""A report as a page shows it: sections of text, rows and marks, in reading order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from convsv_cli.renderers.html.blocks import BlockTable, block_table
from convsv_cli.renderers.html.facts import Facts, command_of, model_facts, setting_facts
from convsv_cli.renderers.html.gates import Gates, gates_of
from convsv_cli.renderers.html.headline import (
    FAIL,
    INFO,
    SYMBOLS,
    WORST_FIRST,
    Headline,
    Tile,
    headline_of,
    largest_of,
    tiles_of,
)
from convsv_cli.renderers.html.layers import LayerTable, layer_table
from convsv_cli.renderers.html.network import (
    ObstacleGroup,
    PartRow,
    Ruler,
    obstacles_of,
    parts_of,
    ruler_of,
    story_of,
)
from convsv_cli.renderers.html.profile import Profile, profile_of
from convsv_cli.renderers.html.remarks import Remark, assumptions_of, findings_of
from convsv_cli.renderers.html.scale import Scale, log, scale_of
from convsv_cli.renderers.html.spectra import Histogram, histograms_of
from convsv_cli.renderers.html.track import INTERVAL, Track, point
from convsv_cli.renderers.html.words import bound_figure, sort_key
from convsv_cli.renderers.numbers import counted, figure
from convsv_cli.report import BOUNDED, CERTIFIED, Audit, Failure, Method, Report
from convsv_cli.version import __version__


@dataclass(frozen=True, kw_only=True)
class Section:
    """One model. `id` is where links lead."""

    id: str
    path: str
    subtitle: str
    headline: Headline
    tiles: tuple[Tile, ...]
    gates: Gates | None
    ruler: Ruler | None
    story: str
    bound_reason: str
    blocks: BlockTable | None
    obstacles: tuple[ObstacleGroup, ...]
    parts: tuple[PartRow, ...]
    folded: str
    profile: Profile | None
    layers: LayerTable
    spectra: tuple[Histogram, ...]
    findings: tuple[Remark, ...]
    assumptions: tuple[Remark, ...]
    methods: tuple[Method, ...]
    model: Facts
    settings: Facts
    command: str


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """A model among others."""

    id: str
    path: str
    headline: Headline
    bound: str
    key: str | None
    track: Track | None
    audited: str
    largest: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """All models, and a summary where there is more than one."""

    title: str
    command: str
    version: str
    headline: Headline | None
    scale: Scale | None
    summary: tuple[SummaryRow, ...]
    failures: tuple[Failure, ...]
    sections: tuple[Section, ...]


def page_of(report: Report) -> Page:
    """The report, ready for a template."""
    sections = tuple(_section(audit, f"m{i}") for i, audit in enumerate(report.audits, start=1))
    several = len(sections) != 1 or bool(report.failures)
    scale = scale_of(_log(audit) for audit in report.audits) if several else None
    models = len(report.audits) + len(report.failures)
    return Page(
        title=counted(models, "model") if several else report.audits[0].model.path,
        command=report.command,
        version=__version__,
        headline=_overall(sections, report.failures) if several else None,
        scale=scale if any(audit.bound.status == BOUNDED for audit in report.audits) else None,
        summary=tuple(map(_summary, report.audits, sections, [scale] * len(sections))) if several else (),
        failures=report.failures,
        sections=sections,
    )


def _section(audit: Audit, identifier: str) -> Section:
    model, bound = audit.model, audit.bound
    opset = f", opset {model.opset}" if model.opset is not None else ""
    return Section(
        id=identifier,
        path=model.path,
        subtitle=f"{model.format}{opset} · {counted(len(audit.layers), 'weight layer')}",
        headline=headline_of(audit),
        tiles=tuple(tiles_of(audit)),
        gates=gates_of(audit.verdict),
        ruler=ruler_of(audit),
        story=story_of(audit),
        bound_reason=bound.reason,
        blocks=block_table(bound.blocks),
        obstacles=obstacles_of(bound),
        parts=parts_of(bound),
        folded=", ".join(bound.folded),
        profile=profile_of(audit),
        layers=layer_table(audit),
        spectra=histograms_of(audit.spectra),
        findings=findings_of(audit),
        assumptions=assumptions_of(audit),
        methods=audit.methods,
        model=model_facts(audit),
        settings=setting_facts(audit),
        command=command_of(audit),
    )


def _summary(audit: Audit, section: Section, scale: Scale | None) -> SummaryRow:
    bounded = audit.bound.status == BOUNDED
    text = f"≤ {bound_figure(audit.bound)}" if bounded else "none"
    largest = largest_of(audit)
    place = None if scale is None or not bounded else point(INTERVAL, scale.at(_log(audit)))
    return SummaryRow(
        id=section.id,
        path=section.path,
        headline=section.headline,
        bound=text,
        key=sort_key(audit.bound.log10),
        track=None if place is None else Track(words=f"Lipschitz bound {text}", marks=(place,)),
        audited=f"{audit.audited} of {audit.applicable}",
        largest="" if largest is None else f"≤ {figure(largest[0], CERTIFIED)}",
    )


def _overall(sections: tuple[Section, ...], failures: tuple[Failure, ...]) -> Headline:
    """The worst of all as the title, and how many there are of each."""
    said = [(section.headline.tone, section.headline.short) for section in sections]
    said += [(FAIL, "Not audited")] * len(failures)
    counts = sorted(Counter(said).items(), key=lambda item: WORST_FIRST.index(item[0][0]))
    if not counts:
        return Headline(tone=INFO, symbol=SYMBOLS[INFO], title="Nothing was audited", text="")
    ((tone, _), _), *_ = counts
    first, *others = [f"{short}: {count}" for (_, short), count in counts]
    title = f"{first} of {counted(len(said), 'model')}"
    return Headline(tone=tone, symbol=SYMBOLS[tone], title=title, text=" · ".join(others))


def _log(audit: Audit) -> float:
    return log(None) if audit.bound.log10 is None else audit.bound.log10
