"""What of a budget holds nothing, and which models no limit holds: no such gate may pass."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from heapq import nlargest
from itertools import islice

from convsv_cli.budget.configuration import SPECIAL, Budget, names_of
from convsv_cli.names import printable
from convsv_cli.report import (
    ABSENT,
    AUDITED,
    ERROR,
    IGNORED,
    NOT_APPLICABLE,
    WARNING,
    Audit,
    Finding,
    Place,
    Report,
    Verdict,
)

SUGGESTIONS = 5
"""Globs that better ones are looked for: it takes a while for each."""
NAMED = 3
"""Layers that are named as examples where nothing is like a glob."""
CANDIDATES, CLOSEST, LONGEST = 5000, 30, 100
"""Globs that one is compared with, by its letters and by their order, and characters of one that is."""
NO_LAYERS = "the model has no layers with weights, so nothing was audited"
NO_LAYER = "what it matches is not applicable, such as a table; --as-layer audits it"
UNGATED = "no limit applies to the network or to any of its layers"


def with_unused(budget: Budget, report: Report, *, whole: bool = True) -> Report:
    """The report, its audits with findings about what holds nothing.

    * Each model without layers.
    * Each other model without a gate that is not ignored; where the budget only asks that all layers be
      audited, as it has ignores alone, each without a layer that was.
    * Each glob of the budget that no layer of any model is left for, and each pair of tensors that no model
      has, on the last audit. That is an error, but a warning where a model may be missing that it is for:
      `whole` is whether the report is of all models of the budget. Nothing is said of globs and pairs where a
      model could not be read.
    """
    audits = [_with_ungated(budget, audit) for audit in report.audits]
    if audits and not report.failures:
        severity = ERROR if whole else WARNING
        found = tuple(
            Finding(rule="unused-budget", severity=severity, node="", message=message, place=place)
            for message, place in (*_unused(budget, audits), *_unused_pairs(budget, audits))
        )
        told = {finding.place for finding in found}
        audits = [_without_notes(audit, told) for audit in audits]
        audits[-1] = replace(audits[-1], findings=audits[-1].findings + found)
    return replace(report, audits=tuple(audits))


def _without_notes(audit: Audit, told: Collection[Place | None]) -> Audit:
    """The audit without its notes on pairs that are told of as errors."""
    kept = (finding for finding in audit.findings if finding.rule != ABSENT or finding.place not in told)
    return replace(audit, findings=tuple(kept))


def _with_ungated(budget: Budget, audit: Audit) -> Audit:
    if audit.verdict is None:
        return audit
    if not audit.layers:
        finding = Finding(rule="no-layers", severity=ERROR, node="", message=NO_LAYERS)
    elif _is_gated(budget, audit, audit.verdict):
        return audit
    else:
        finding = Finding(rule="nothing-gated", severity=ERROR, node="", message=UNGATED)
    return replace(audit, findings=(*audit.findings, finding))


def _is_gated(budget: Budget, audit: Audit, verdict: Verdict) -> bool:
    if verdict.gates or budget.limited:
        return any(gate.outcome != IGNORED for gate in verdict.gates)
    return _looked_at(budget, audit)


def _looked_at(budget: Budget, audit: Audit) -> bool:
    """Whether some layer was audited that nobody asked to ignore."""
    return any(row.status == AUDITED and not budget.ignoring.all(names_of(row)) for row in audit.layers)


def _unused(budget: Budget, audits: Sequence[Audit]) -> Iterator[tuple[str, Place]]:
    """What to say of each glob that holds nothing, and where it stands."""
    globs = budget.globs
    rows = [row for audit in audits for row in audit.layers]
    layers = list(dict.fromkeys(names_of(row) for row in rows if row.status != NOT_APPLICABLE))
    names = list(dict.fromkeys(map(names_of, rows)))
    taken = {globs.first(each) for each in layers}
    met = {index for each in names for index in budget.ignoring.all(each)}
    better = _Better(names)
    left = [] if taken.issuperset(range(len(budget.layers))) else names
    matched = {index: each for each in reversed(left) for index in globs.all(each)}
    held = {index: each for each in reversed(layers) if left for index in globs.all(each)}
    for index, layer in enumerate(budget.layers):
        if index in taken:
            continue
        before = globs.first(held[index]) if index in held else None
        if before is not None:
            earlier = budget.layers[before]
            what = f"{earlier.match!r} in line {earlier.limit.place.line} takes all of its layers first"
            yield f"no layer is left for the glob {layer.match!r}: {what}", layer.limit.place
        elif index in matched:
            yield f"no layer is left for the glob {layer.match!r}: {NO_LAYER}", layer.limit.place
        else:
            yield better.instead_of(layer.match), layer.limit.place
    for index, ignore in enumerate(budget.ignores):
        if index not in met:
            yield better.instead_of(ignore.match), ignore.place


def _unused_pairs(budget: Budget, audits: Sequence[Audit]) -> Iterator[tuple[str, Place]]:
    """What to say of each pair that no model has, which is what was said of it of the last one."""
    gates = (gate for audit in audits if audit.verdict for gate in audit.verdict.gates)
    held = {(gate.start, gate.end) for gate in gates}
    told = {f.place: f.message for audit in audits for f in audit.findings if f.rule == ABSENT}
    for pair in budget.pairs:
        if (pair.start, pair.end) not in held:
            place = pair.limit.place
            yield told.get(place, f"no model has {pair.start!r} and {pair.end!r}"), place


class _Better:
    """Globs that some layer has, for those that none has."""

    def __init__(self, names: Sequence[tuple[str, ...]]) -> None:
        self._layers = [each[0] for each in names]
        self._names = list(dict.fromkeys(name for each in names for name in each if name))
        self._left = SUGGESTIONS

    def instead_of(self, glob: str) -> str:
        """That no layer matches the glob, and what may have been meant."""
        self._left -= 1
        meant = self._meant(glob) if self._left >= 0 else None
        hint = f"did you mean {printable(meant)}?" if meant else self._called()
        return f"no layer matches the glob {glob!r} ({hint})"

    def _meant(self, glob: str) -> str | None:
        for name in self._names if SPECIAL.isdisjoint(glob) else ():
            before, met, after = f".{name}.".partition(f".{glob}.")  # whole steps of a name first
            if met:
                return f"{'*.' if before else ''}{glob}{'.*' if after else ''}"
        if SPECIAL.isdisjoint(glob) and any(glob in name for name in self._names):
            return f"*{glob}*"
        near = difflib.get_close_matches(glob.lower(), self._alike(glob.lower()), n=1)
        return self._known[near[0]] if near else None

    def _alike(self, glob: str) -> list[str]:
        """A few that have most of its letters, whatever their order, which takes the square of the length."""
        if len(glob) > LONGEST:
            return []
        matcher = difflib.SequenceMatcher(b=glob)

        def letters(each: str) -> float:
            matcher.set_seq1(each)
            return matcher.quick_ratio()

        near = (each for each in self._known if 0.4 * len(glob) < len(each) < 2.4 * len(glob))
        return nlargest(CLOSEST, islice(near, CANDIDATES), key=letters)

    @cached_property
    def _known(self) -> dict[str, str]:
        """By the small letters of each."""
        return {each.lower(): each for each in islice(self._parts(), 100 * CANDIDATES)}

    def _parts(self) -> Iterator[str]:
        """Names, and globs of all that begins or ends as they do, each of which some layer matches."""
        for name in filter(SPECIAL.isdisjoint, self._names):
            if len(name) > 2 * LONGEST:
                continue
            steps = name.split(".")
            for count in range(1, len(steps)):
                yield f"{'.'.join(steps[:count])}.*"
                yield f"*.{'.'.join(steps[count:])}"
            yield name

    def _called(self) -> str:
        if not self._layers:
            return "there are no layers"
        shown = ", ".join(map(printable, self._layers[:NAMED]))
        left = len(self._layers) - NAMED
        return f"its layers are called {shown}{f' and {left} more' if left > 0 else ''}"
