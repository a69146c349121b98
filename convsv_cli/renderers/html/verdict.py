"""What a page says first, the verdict and the key figures, and what became of each limit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from convsv_cli.deadline import WORDS
from convsv_cli.digits import short
from convsv_cli.renderers.audit_text import bound_figure, for_inputs, quantised_line
from convsv_cli.renderers.numbers import DIGITS, LOWER, counted, figure, whole_percent
from convsv_cli.report import (
    ADDED,
    BOUNDED,
    CERTIFIED,
    COMPLETE,
    EXCEEDED,
    FAILED,
    IGNORED,
    INTERRUPTED,
    MISSING,
    MISTAKEN,
    PASSED,
    REMOVED,
    UNBOUNDED,
    UNDECIDED,
    UNUSED,
    UPPER,
    Audit,
    Failure,
    Finding,
    Gate,
    Verdict,
    conclusion,
)

FAIL, WARN, PASS, INFO = "fail", "warn", "pass", "info"
SYMBOLS = {FAIL: "✕", WARN: "!", PASS: "✓", INFO: "≤"}
"""The worst tone first."""
OPEN = "?"
"""The symbol of what is neither kept nor exceeded."""
OUTCOMES = {
    EXCEEDED: (FAIL, "✕"),
    MISSING: (WARN, OPEN),
    UNDECIDED: (WARN, OPEN),
    IGNORED: ("mute", "\N{EN DASH}"),
    PASSED: (PASS, "✓"),
}
"""The tone and the symbol of what became of a limit."""
CLOSE = 0.01
"""Of a limit: a norm that misses it by less is shown with more digits."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """`tone` is never said by colour alone: the symbol and `title` say it too."""

    tone: str
    title: str
    text: str
    sign: str = ""

    @property
    def symbol(self) -> str:
        """The tone's, unless there is one of its own."""
        return self.sign or SYMBOLS[self.tone]

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
    if audit.status != COMPLETE:
        said = replace(said, text=f"{said.text} The audit was {WORDS[audit.status]}.")
    if missing:
        why = "had no figures by then" if audit.status == INTERRUPTED else "could not be audited"
        said = replace(said, text=f"{said.text} {counted(missing, 'layer')} {why}.")
    if said.tone == FAIL or not (missing or audit.status == INTERRUPTED):
        return said
    short = said.short if said.tone == WARN else f"{said.short}, incomplete"
    return replace(said, title=said.title.replace(said.short, short, 1), tone=WARN, sign="")


def overall(headlines: Sequence[Headline], failures: Sequence[Failure]) -> Headline:
    """The worst of all models as the title, and how many there are of each."""
    said = [(headline.tone, headline.short) for headline in headlines]
    said += [(FAIL, "Not audited")] * len(failures)
    counts = sorted(Counter(said).items(), key=lambda item: list(SYMBOLS).index(item[0][0]))
    if not counts:
        return Headline(tone=INFO, title="Nothing was audited", text="")
    first, *others = [f"{short}: {count}" for (_, short), count in counts]
    title = f"{first} of {counted(len(said), 'model')}"
    return Headline(tone=counts[0][0][0], title=title, text=" · ".join(others))


def tiles_of(audit: Audit) -> Iterator[Tile]:
    """At most six."""
    bound, empirical = audit.bound, audit.bound.empirical
    bounded = bound.status == BOUNDED
    note = f"certified, L2{for_inputs(bound)}" if bounded else bound.status
    yield Tile(label="Lipschitz bound", value=f"≤ {bound_figure(bound)}" if bounded else "none", note=note)
    if empirical is not None:
        yield Tile(
            label="Largest ratio observed", value=figure(empirical.ratio), note="an estimate from below"
        )
    if audit.verdict is not None:
        kept, total = _counts(audit.verdict)[PASSED], len(audit.verdict.gates)
        yield Tile(label="Limits kept", value=f"{kept} of {total}", note=audit.verdict.budget)
    largest = largest_of(audit)
    if largest is not None:
        yield Tile(label="Largest layer", value=f"≤ {figure(largest[0], CERTIFIED)}", note=largest[1])
    yield Tile(
        label="Weight layers audited",
        value=f"{audit.audited} of {audit.applicable}",
        note=_coverage(audit),
    )


def largest_of(audit: Audit) -> tuple[float, str] | None:
    """The largest certified upper end, and the layer that has it."""
    return max(certified_ends(audit), default=None)


def certified_ends(audit: Audit) -> list[tuple[float, str]]:
    """The certified upper ends, and the layers that have them."""
    return [
        (measurement.enclosure.upper, layer.name)
        for layer in audit.layers
        if (measurement := layer.measurement("certified")) is not None and measurement.enclosure is not None
    ]


def limits_of(verdict: Verdict | None) -> dict[str, Gate]:
    """By layer the gate that decides, `""` for the network; the tightest where there are several."""
    gates = [gate for gate in verdict.gates if not gate.aside] if verdict else []
    return {gate.node: gate for gate in sorted(gates, key=lambda gate: -gate.limit)}


def proven(gate: Gate) -> str:
    """What a limit is held against, with more digits where they are close."""
    enclosure = gate.enclosure
    if enclosure is None:
        return "nothing"
    if math.isinf(enclosure.upper):
        return "no upper end" if not enclosure.lower else f"≥ {figure(enclosure.lower, LOWER)}"
    near = any(abs(end - gate.limit) < CLOSE * gate.limit for end in (enclosure.lower, enclosure.upper))
    digits = 2 * DIGITS if near else DIGITS
    upper = f"≤ {figure(enclosure.upper, UPPER, digits)}"
    return f"{figure(enclosure.lower, LOWER, digits)} … {upper}" if enclosure.lower else upper


def used(gate: Gate) -> str:
    """How much of the limit the upper end takes."""
    if gate.enclosure is None or not gate.limit or math.isinf(gate.enclosure.upper):
        return ""
    return f"{short(100 * gate.enclosure.upper / gate.limit, 4)} %"


def _judged(verdict: Verdict, findings: Sequence[Finding]) -> Headline:
    counts, total = _counts(verdict), len(verdict.gates)
    missing = counts[MISSING] + counts[UNDECIDED]
    of = f"of {counted(total, 'limit')} in {verdict.budget}"
    ignored = f" {counts[IGNORED]} ignored." if counts[IGNORED] else ""
    kept = f"{counts[PASSED]} {of} {_are(counts[PASSED])} kept"
    if conclusion(verdict, findings) == MISTAKEN:
        unused = _number(findings, UNUSED)
        applies = "applies" if unused == 1 else "apply"
        text = f"{counted(unused, 'part')} of {verdict.budget} {applies} to nothing in the models."
        return Headline(tone=FAIL, title="Invalid budget", text=text)
    if counts[EXCEEDED]:
        beside = f", {missing} undecided" if missing else ""
        text = f"{counts[EXCEEDED]} {of} {_are(counts[EXCEEDED])} exceeded{beside}.{ignored}"
        return Headline(tone=FAIL, title="Budget exceeded", text=text)
    if missing:
        text = f"{missing} {of} cannot be decided: the bound is missing or too loose.{ignored}"
        return Headline(tone=WARN, sign=OPEN, title="Budget undecided", text=text)
    if total and conclusion(verdict, findings) != PASSED:
        text = f"{kept}, but not all can be judged.{ignored}"
        return Headline(tone=WARN, sign=OPEN, title="Budget incomplete", text=text)
    if not total:
        text = f"{verdict.budget} has no limit that applies to this model."
        return Headline(tone=WARN, sign=OPEN, title="Nothing to judge", text=text)
    return Headline(tone=PASS, title="Within budget", text=f"{kept}.{ignored}")


def _other_layers(verdict: Verdict, findings: Sequence[Finding]) -> Headline | None:
    """What a strict baseline fails of, where no limit is exceeded; None where it does not."""
    if conclusion(verdict, findings) != FAILED or _counts(verdict)[EXCEEDED]:
        return None
    layers = counted(_number(findings, ADDED, REMOVED), "layer")
    text = f"{layers} added or removed since {verdict.budget} was written."
    return Headline(tone=FAIL, title="Layers differ from the baseline", text=text)


def _bound(audit: Audit) -> Headline:
    bound = audit.bound
    if bound.status == BOUNDED:
        figures = bound_figure(bound)
        text = (
            f"No perturbation of the input is amplified by more than a factor of {figures}"
            f"{for_inputs(bound)}, in the L2 norm."
        )
        return Headline(tone=INFO, title=f"Certified: L ≤ {figures}", text=text)
    if bound.status == UNBOUNDED:
        nodes = counted(len(bound.obstacles), "node")
        verb = "prevents" if len(bound.obstacles) == 1 else "prevent"
        own = "; each audited layer has its own" if audit.audited else ""
        instead = f" {quantised_line(bound)}." if bound.quantised else ""
        text = f"{nodes} {verb} a bound of the network{own}.{instead}"
        return Headline(tone=WARN, title="No certified bound", text=text)
    text = f"The whole network has no bound: {bound.reason}."
    if not audit.audited:
        return Headline(tone=WARN, title="Nothing certified", text=text)
    return Headline(tone=INFO, title="Certified layer by layer", text=text)


def _coverage(audit: Audit) -> str:
    others = len(audit.layers) - audit.applicable
    return f"{whole_percent(audit.network.coverage)} coverage" + (
        f", {others} not applicable" if others else ""
    )


def _counts(verdict: Verdict) -> Counter[str]:
    """How many gates ended how."""
    return Counter(gate.outcome for gate in verdict.gates)


def _number(findings: Sequence[Finding], *rules: str) -> int:
    return sum(finding.rule in rules for finding in findings)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
