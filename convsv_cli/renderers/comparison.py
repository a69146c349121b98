"""Two audits compared, change by change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from convsv_cli.names import inert
from convsv_cli.renderers import csv, json, markdown
from convsv_cli.renderers.html.page import page
from convsv_cli.renderers.html.verdict import INFO, Headline, headline_of
from convsv_cli.renderers.numbers import counted, figure, percent
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.screen import STYLE_OF, Line, Part, Table, fitting, indented, shown
from convsv_cli.renderers.verdict_text import about, headline, node, open_gates, verdict_lines
from convsv_cli.report import (
    AUDITED,
    NOT_APPLICABLE,
    UPPER,
    Audit,
    Change,
    Difference,
    Finding,
    Interval,
    Verdict,
)
from convsv_cli.report.comparison import CLOSE, NOT_A_LAYER, SAME

HEADINGS = ("layer", "before ≤", "after ≤", "ratio", "change")
EXPENDABLE = ("ratio", "before ≤", "after ≤")
"""Columns that a narrow terminal goes without where there are distances; without, but for the first."""
FURTHER = ("distance ≤", "of before ≤")
"""Columns before the last, where the distances of weights are known."""
RIGHT = (False, True, True, True, False)
"""Columns that are flush right."""
CSV_HEADINGS = (
    "kind", "layer", "before", "change", "matched",
    "old_lower", "old_upper", "new_lower", "new_upper", "ratio", "distance_lower", "distance_upper", "share",
)  # fmt: skip
DISTANCE = (
    "distance: the certified norm of the difference of both weights, W - W'; of before: as a share of |W|"
)
UPDATES = "its figures are of what it adds to weights (convsv audit --base has weights and sums, too)"
READABLE = 0.01


def _difference_table(difference: Difference, terminal: Terminal) -> str:
    """The verdict, then a row per layer that has changed, or for each, as text."""
    difference = inert(difference)
    old, new = difference.old, difference.new
    listed = [change for change in difference.changes if terminal.full or _tells(change)]
    headings, right = _columns(difference)
    rows = [_row(change, str, str, measured=headings != HEADINGS) for change in listed]
    expendable = EXPENDABLE if headings != HEADINGS else EXPENDABLE[:1]
    all_cells = {name: [row[index] for row in rows] for index, name in enumerate(headings)}
    cells = fitting(all_cells, terminal.width, expendable, prose="change")
    texts = [name for name, flush in zip(headings, right, strict=True) if not flush]
    styles = [STYLE_OF.get(change.kind, "") for change in listed]
    verdict: list[Part] = []
    if new.verdict is not None:
        verdict = ["", *verdict_lines(new.verdict, new.findings, open_gates(new.verdict))]
    left = Counter(change.kind for change in difference.changes if not terminal.full and not _tells(change))
    return shown(
        [
            Line(after=f"{old.model.path} → {new.model.path}", indent=2),
            *verdict,
            "",
            Table(columns=cells, texts=texts, styles=styles),
            *(["", _left_out(left)] if left else []),
            *(line for told in _remarks(difference) if told for line in indented(["", *told], 2)),
        ],
        terminal,
    )


def _tells(change: Change) -> bool:
    """Whether it is a change that is known, one that cannot be, or of the network; or there is a distance."""
    if change.distance is not None and change.distance.upper:
        return True
    return not change.name or change.renamed or change.kind not in (SAME, CLOSE, NOT_A_LAYER)


def _remarks(difference: Difference) -> tuple[list[str], list[str]]:
    """Why layers have no figures or cannot be compared; then what distances are, where there are any."""
    old, new = difference.old, difference.new
    unread = [*_unread(old), *_unread(new), *_incomparable(old, new)]
    legend = [DISTANCE] if _columns(difference)[0] != HEADINGS else []
    return unread, legend


def _unread(audit: Audit) -> list[str]:
    """Why layers have no figures: each reason, and for how many."""
    unread = (layer for layer in audit.layers if layer.status not in (AUDITED, NOT_APPLICABLE))
    reasons, path = Counter(layer.reason for layer in unread), audit.model.path
    return [f"not audited: {counted(n, 'layer')} of {path}: {reason}" for reason, n in reasons.items()]


def _incomparable(old: Audit, new: Audit) -> list[str]:
    """That a model is held against an adapter, whose rows are of something else."""
    adapters = [any(layer.update for layer in audit.layers) for audit in (old, new)]
    if adapters[0] == adapters[1]:
        return []
    path = (old if adapters[0] else new).model.path
    return [f"note: {path} is an adapter: {UPDATES}"]


def _left_out(kinds: Counter[str]) -> str:
    """How many layers are not listed, by what is said of them."""
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    return f"not listed: {counts} (--verbose lists every layer)"


def _difference_markdown(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """A row per layer, as a table of GitHub's Markdown."""
    headings, right = _columns(difference)
    rows = [
        _row(change, markdown.code, markdown.prose, measured=headings != HEADINGS)
        for change in difference.changes
    ]
    lines = markdown.table(headings, right, rows)
    new = difference.new
    verdict = ["", markdown.fenced(_verdict(new.verdict, new.findings))] if new.verdict else []
    title = " → ".join(markdown.code(audit.model.path) for audit in (difference.old, new))
    unread, legend = _remarks(difference)
    remarks = [f"- {line}" for line in (*map(markdown.prose, unread), *legend)]
    remarks = ["", *remarks] if remarks else []
    return "\n".join([title, "", *lines, *verdict, *remarks]) + "\n"


def _difference_csv(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """A row for the network, without a name, and one per layer, in full precision."""
    rows = [
        (
            *(csv.kind_of(c.name), c.name, c.before, c.kind, c.matched),
            *(*_ends(c.old), *_ends(c.new), c.ratio),
            *(*_ends(c.distance), c.share),
        )
        for c in difference.changes
    ]
    return csv.comma_separated([CSV_HEADINGS, *rows])


def _difference_html(difference: Difference, terminal: Terminal) -> str:  # noqa: ARG001
    """The page, which ends with a line break; every text from a file is inert in it."""
    new = difference.new
    return page(
        "difference.html",
        difference=difference,
        headline=_counts(difference) if new.verdict is None else headline_of(new),
        rows=[
            _row(change, str, str, measured=_columns(difference)[0] != HEADINGS)
            for change in difference.changes
        ],
        measured=_columns(difference)[0] != HEADINGS,
        remarks=[each for told in _remarks(difference) for each in told],
    )


def _counts(difference: Difference) -> Headline:
    """How many layers changed, and in which way."""
    kinds = Counter(change.kind for change in difference.changes if change.name)
    text = " · ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
    return Headline(tone=INFO, title=f"{counted(sum(kinds.values()), 'layer')} compared", text=text)


def _columns(difference: Difference) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """The headings, and which columns are flush right: with those of distances, where there are any."""
    if not any(change.distance or change.no_distance for change in difference.changes):
        return HEADINGS, RIGHT
    return (*HEADINGS[:-1], *FURTHER, HEADINGS[-1]), (*RIGHT[:-1], *(True for _ in FURTHER), RIGHT[-1])


def _row(
    change: Change, shown: Callable[[str], str], said: Callable[[str], str], *, measured: bool
) -> tuple[str, ...]:
    """The cells below the headings.

    Args:
        change: what they are about.
        shown: makes names harmless.
        said: makes sentences harmless.
        measured: whether there are those of distances.
    """
    was = f" (was {shown(change.before)}, by {change.matched})" if change.renamed else ""
    name = shown(change.name) if change.name else csv.NETWORK
    ratio = "" if change.ratio is None else _ratio(change.ratio)
    why = f": {said(change.reason)}" if change.reason else ""
    why += f"; no distance: {said(change.no_distance)}" if change.no_distance else ""
    share = "" if change.share is None else percent(change.share, UPPER)
    further = (_upper(change.distance), share) if measured else ()
    return (name, _upper(change.old), _upper(change.new), ratio, *further, change.kind + was + why)


def _verdict(verdict: Verdict, findings: Sequence[Finding]) -> list[str]:
    """The outcomes of the gates."""
    lines = [f"  {gate.outcome}  {node(gate)}: {about(gate)}" for gate in open_gates(verdict)]
    return [headline(verdict, findings), *lines]


def _ratio(value: float) -> str:
    """A change of a hundredth of a percent is seen, and a millionth is not 0."""
    return f"{value:.4f}" if value >= READABLE or not value else figure(value)


def _upper(interval: Interval | None) -> str:
    return "" if interval is None else figure(interval.upper, UPPER)


def _ends(interval: Interval | None) -> tuple[float | None, ...]:
    """Its ends; None for those that are not finite, as in JSON."""
    ends = (None, None) if interval is None else (interval.lower, interval.upper)
    return tuple(end if end is not None and math.isfinite(end) else None for end in ends)


DIFFERENCES: tuple[Renderer[Difference], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=_difference_table),
    json.RENDERER,
    Renderer(name="csv", suffixes=(".csv",), render=_difference_csv),
    Renderer(name="markdown", suffixes=(".md", ".markdown"), render=_difference_markdown),
    Renderer(name="html", suffixes=(".html", ".htm"), render=_difference_html),
)
