"""The verdict in a line, and the figures that a reader looks for first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from convsv_cli.renderers.html.gates import outcomes
from convsv_cli.renderers.html.words import among, bound_figure
from convsv_cli.renderers.numbers import counted, figure, whole_percent
from convsv_cli.report import (
    ADDED,
    BOUNDED,
    CERTIFIED,
    EXCEEDED,
    FAILED,
    IGNORED,
    MISSING,
    MISTAKEN,
    PASSED,
    REMOVED,
    UNBOUNDED,
    UNDECIDED,
    UNUSED,
    Audit,
    Finding,
    Verdict,
    conclusion,
)

FAIL, WARN, PASS, INFO = "fail", "warn", "pass", "info"
WORST_FIRST = (FAIL, WARN, PASS, INFO)
SYMBOLS = {FAIL: "✕", WARN: "!", PASS: "✓", INFO: "≤"}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """`tone` is never said by colour alone: `symbol` and `title` say it too."""

    tone: str
    symbol: str
    title: str
    text: str

    @property
    def short(self) -> str:
        """The title without its figures."""
        return self.title.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A figure, what it is, and a remark."""

    label: str
    value: str
    note: str


def headline_of(audit: Audit) -> Headline:
    """What a budget says where there is one; else what is proven of the network."""
    verdict, findings = audit.verdict, audit.findings
    said = (
        _bound(audit) if verdict is None else _other_layers(verdict, findings) or _judged(verdict, findings)
    )
    missing = audit.applicable - audit.audited
    if not missing:
        return said
    said = replace(said, text=f"{said.text} {counted(missing, 'layer')} could not be audited.")
    if said.tone == FAIL:
        return said
    short = said.short if said.tone == WARN else f"{said.short}, incomplete"
    title = said.title.replace(said.short, short, 1)
    return replace(said, title=title, tone=WARN, symbol="!")


def _judged(verdict: Verdict, findings: Sequence[Finding]) -> Headline:
    counts, total = outcomes(verdict), len(verdict.gates)
    missing = counts[MISSING] + counts[UNDECIDED]
    of = f"of {counted(total, 'limit')} in {verdict.budget}"
    ignored = f" {counts[IGNORED]} ignored." if counts[IGNORED] else ""
    if conclusion(verdict, findings) == MISTAKEN:
        text = f"{counted(_told(findings, UNUSED), 'glob')} of {verdict.budget} hold nothing."
        return Headline(tone=FAIL, symbol="✕", title="Budget mistaken", text=text)
    if counts[EXCEEDED]:
        beside = f", {missing} undecided" if missing else ""
        text = f"{counts[EXCEEDED]} {of} {_are(counts[EXCEEDED])} exceeded{beside}.{ignored}"
        return Headline(tone=FAIL, symbol="✕", title="Budget exceeded", text=text)
    if missing:
        text = f"{missing} {of} cannot be decided: the bound is missing or too wide.{ignored}"
        return Headline(tone=WARN, symbol="?", title="Budget undecided", text=text)
    if total and conclusion(verdict, findings) != PASSED:
        text = f"{counts[PASSED]} {of} {_are(counts[PASSED])} kept, but not all can be judged.{ignored}"
        return Headline(tone=WARN, symbol="?", title="Budget incomplete", text=text)
    if not total:
        text = f"{verdict.budget} has no limit that applies to this model."
        return Headline(tone=WARN, symbol="?", title="Nothing to judge", text=text)
    text = f"{counts[PASSED]} {of} {_are(counts[PASSED])} kept.{ignored}"
    return Headline(tone=PASS, symbol="✓", title="Within budget", text=text)


def _other_layers(verdict: Verdict, findings: Sequence[Finding]) -> Headline | None:
    """What a strict baseline fails of, where no limit is exceeded; None where it does not."""
    if conclusion(verdict, findings) != FAILED or outcomes(verdict)[EXCEEDED]:
        return None
    text = f"{counted(_told(findings, ADDED, REMOVED), 'layer')} new or gone beside {verdict.budget}."
    return Headline(tone=FAIL, symbol="✕", title="Other layers than the baseline", text=text)


def _told(findings: Sequence[Finding], *rules: str) -> int:
    return sum(finding.rule in rules for finding in findings)


def _bound(audit: Audit) -> Headline:
    bound = audit.bound
    if bound.status == BOUNDED:
        figures = bound_figure(bound)
        text = f"No change of the input is amplified more than {figures} times{among(bound)}, in the L2 norm."
        return Headline(tone=INFO, symbol="≤", title=f"Certified: L ≤ {figures}", text=text)
    if bound.status == UNBOUNDED:
        nodes = counted(len(bound.obstacles), "node")
        verb = "stands" if len(bound.obstacles) == 1 else "stand"
        own = "; each layer that was audited has its own" if audit.audited else ""
        text = f"{nodes} {verb} in the way of a bound of the network{own}."
        return Headline(tone=WARN, symbol="!", title="No certified bound", text=text)
    text = f"There is no bound of the whole network: {bound.reason}."
    if not audit.audited:
        return Headline(tone=WARN, symbol="!", title="Nothing certified", text=text)
    return Headline(tone=INFO, symbol="≤", title="Certified layer by layer", text=text)


def tiles_of(audit: Audit) -> Iterator[Tile]:
    """At most six."""
    bound, empirical = audit.bound, audit.bound.empirical
    bounded = bound.status == BOUNDED
    note = f"certified, L2{among(bound)}" if bounded else bound.status
    yield Tile(label="Lipschitz bound", value=f"≤ {bound_figure(bound)}" if bounded else "none", note=note)
    if empirical is not None:
        yield Tile(label="Largest ratio seen", value=figure(empirical.ratio), note="an estimate from below")
    if audit.verdict is not None:
        kept, total = outcomes(audit.verdict)[PASSED], len(audit.verdict.gates)
        yield Tile(label="Limits kept", value=f"{kept} of {total}", note=audit.verdict.budget)
    largest = largest_of(audit)
    if largest is not None:
        yield Tile(label="Largest layer", value=f"≤ {figure(largest[0], CERTIFIED)}", note=largest[1])
    yield Tile(
        label="Weight layers audited",
        value=f"{audit.audited} of {audit.applicable}",
        note=_coverage(audit),
    )


def _coverage(audit: Audit) -> str:
    others = len(audit.layers) - audit.applicable
    return f"{whole_percent(audit.network.coverage, '')} coverage" + (
        f", {others} not applicable" if others else ""
    )


def largest_of(audit: Audit) -> tuple[float, str] | None:
    """The largest certified upper end, and whose it is."""
    uppers = [
        (measurement.enclosure.upper, layer.name)
        for layer in audit.layers
        if (measurement := layer.measurement("certified")) is not None and measurement.enclosure is not None
    ]
    return max(uppers, default=None)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
