"""Gates become findings, in words that say which, by how much, and what to do."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from decimal import ROUND_FLOOR, Context, Decimal

from convsv_cli.budget.configuration import Ignore, names_of
from convsv_cli.budget.judge import NAMED, Judge
from convsv_cli.comparison import Pair
from convsv_cli.digits import short, written
from convsv_cli.renderers.numbers import excess, figure
from convsv_cli.report import (
    ADDED,
    BOUNDED,
    ERROR,
    EXCEEDED,
    INTERRUPTED,
    MISSING,
    NOTE,
    REMOVED,
    RENAMED,
    STEPS,
    UNDECIDED,
    UNSUPPORTED,
    UPPER,
    WARNING,
    Audit,
    Finding,
    Gate,
    Interval,
    Place,
    Verdict,
)
from convsv_cli.report.comparison import BY_SHAPE

UNHELD = "the baseline has no finite certified figure for it, so there is nothing to hold it against"
CUT_OFF = "the audit that is the baseline was interrupted: write it again"
LAYERS_ONLY = "the baseline has no bound for the network: only the layers are held against it"
EXPLAINED = ("unsupported-layer", "not-applicable")
"""Rules of findings that an ignore with its reason stands for."""
BOUND_ONLY = "this is an upper bound: the network itself may amplify less"


def judged(judge: Judge, audit: Audit) -> Audit:
    """The audit with its verdict, and findings about what gates did not pass and what was ignored.

    Of an ignored layer, nothing but that is said about why it was not audited.

    Raises:
        UsageError: the baseline does not speak of the same thing.
    """
    gates = judge.gates(audit)
    covered = {row.name for row in audit.layers if judge.ignored_by(row) is not None}
    kept = (f for f in audit.findings if f.rule not in EXPLAINED or f.node not in covered)
    missed = (_gate_finding(gate, judge.origin(gate)) for gate in gates)
    held = covered.union(gate.node for gate in gates if not gate.aside)
    told = (*_unheld(judge, audit, held), *_ignores(judge, audit), *_changes(judge, audit))
    found = (*kept, *filter(None, missed), *told)
    path = judge.budget.path or (judge.baseline.path if judge.baseline else "")
    return replace(audit, verdict=Verdict(budget=path, gates=gates), findings=found)


def _gate_finding(gate: Gate, origin: str) -> Finding | None:
    """What to say of a gate; nothing where it passed or is ignored."""
    kind = _kind(gate)
    if gate.outcome == EXCEEDED and gate.enclosure is not None:
        rule, severity, message = f"{kind}-{origin}", ERROR, _exceeded(gate, origin)
    elif gate.outcome == UNDECIDED and gate.enclosure is not None:
        known = f"its norm is between {_ends(gate.enclosure)}" if gate.node else _of_network(gate)
        message = f"{known}, and its {origin} is {short(gate.limit, 10)}: {gate.reason}"
        rule, severity = f"{kind}-undecided", WARNING
    elif gate.outcome == MISSING:
        message = f"nothing to hold against its {origin} of {short(gate.limit, 10)}: {gate.reason}"
        rule, severity = f"{kind}-bound-missing", ERROR
    else:
        return None
    pair = f"from {gate.start!r} to {gate.end!r}, " if gate.start else ""
    return Finding(
        rule=rule,
        severity=severity,
        node=gate.node,
        message=f"{pair}{message}",
        measured=None if gate.enclosure is None else gate.enclosure.upper,
        limit=gate.limit,
        place=gate.place,
    )


def _of_network(gate: Gate) -> str:
    """What is proven of what a gate of the network is about."""
    upper = math.inf if gate.enclosure is None else gate.enclosure.upper
    return _term(gate.quantity, upper) if gate.quantity else _bound(upper)


def _ends(enclosure: Interval) -> str:
    """Both ends, with as many digits as it takes to tell them apart; ten at least."""
    for digits in range(10, 18):
        lower, upper = (short(end, digits) for end in (enclosure.lower, enclosure.upper))
        if lower != upper:
            break
    return f"{lower} and {upper}"


def _exceeded(gate: Gate, origin: str) -> str:
    """Of a layer what its norm certainly is, of a network what its bound is."""
    enclosure = gate.enclosure
    assert enclosure is not None  # noqa: S101  (for mypy: no gate exceeds without one)
    measured = enclosure.lower if gate.node else enclosure.upper
    above = f"{excess(measured, gate.limit)} its {origin} of {short(gate.limit, 10)}"
    if gate.node:
        return f"its norm is at least {beyond(measured, gate.limit)}, {above}"
    return f"{_of_network(gate)}, {above}; {BOUND_ONLY}"


def _kind(gate: Gate) -> str:
    """What the rule of a finding begins with."""
    if gate.node:
        return "layer"
    return "quantised" if gate.quantity else "pair" if gate.start else "network"


def _term(quantity: str, upper: float) -> str:
    """One of both terms of what is proven of a network that rounds."""
    shown = figure(upper, UPPER) if math.isfinite(upper) else "beyond 1e308"
    if quantity == STEPS:
        return f"what the steps of its quantisers may add is {shown}"
    return f"the certified factor beside the steps of its quantisers is {shown}"


def _bound(upper: float) -> str:
    shown = figure(upper, UPPER) if math.isfinite(upper) else "beyond 1e308"
    return f"the certified Lipschitz bound is {shown}"


def beyond(measured: float, limit: float) -> str:
    """A figure above a limit, rounded down, with as many digits as it takes to see that; four at least."""
    for digits in range(4, 18):
        shown = Context(prec=digits, rounding=ROUND_FLOOR).create_decimal_from_float(measured)
        if shown > Decimal(limit):
            return written(shown) if shown.is_finite() else "1e308"
    return repr(measured)


def _unheld(judge: Judge, audit: Audit, held: Collection[str]) -> Iterator[Finding]:
    """A warning of what the baseline knows, but sets no limit to, and that nothing else holds.

    A network that had no bound is only noted: its layers are what can be held then.
    """
    if judge.baseline is None:
        return
    place = Place(path=judge.baseline.path, line=1)
    if judge.baseline.audit.status == INTERRUPTED:
        yield _note("no-baseline", WARNING, CUT_OFF, place)
    if judge.baseline.audit.bound.status != BOUNDED and "" not in held:
        yield _note("network-not-held", NOTE, LAYERS_ONLY, place)
    for name in judge.baseline.beside(audit).unheld():
        if name not in held:
            yield replace(_note("no-baseline", WARNING, UNHELD, place), node=name)


def _ignores(judge: Judge, audit: Audit) -> Iterator[Finding]:
    """A note per ignored layer, and a warning per expired ignore that would cover some layer."""
    for row in audit.layers:
        index = judge.ignored_by(row)
        if index is not None:
            ignore = judge.budget.ignores[index]
            message = f"ignored{_until(ignore)}: {ignore.reason}"
            if row.status == UNSUPPORTED:
                message += f" (not audited: {row.reason})"
            yield replace(_note("ignored", NOTE, message, ignore.place), node=row.name)
    met: dict[int, list[str]] = {}
    for row in audit.layers:
        for index in judge.budget.ignoring.all(names_of(row)):
            met.setdefault(index, []).append(row.name)
    for index in filter(judge.expired, sorted(met)):
        ignore = judge.budget.ignores[index]
        message = f"the ignore of {ignore.match!r} expired on {ignore.expires}: {ignore.reason}"
        finding = _note("expired-ignore", WARNING, message, ignore.place)
        yield replace(finding, node=met[index][0] if len(met[index]) == 1 else "")


def _until(ignore: Ignore) -> str:
    return f" until {ignore.expires}" if ignore.expires else ""


def _changes(judge: Judge, audit: Audit) -> Iterator[Finding]:
    """Of layers that are not in the baseline, or not by that name, and of those only there.

    New and removed ones are errors to a strict baseline, but for those that the budget ignores.
    """
    if judge.baseline is None:
        return
    place = Place(path=judge.baseline.path, line=1)
    for pair in judge.baseline.beside(audit).pairs:
        row = pair.new or pair.old
        if row is None or not (told := _change(pair)):
            continue
        rule, message = told
        strict = judge.baseline.strict and rule != RENAMED and judge.ignored_by(row) is None
        yield replace(_note(rule, ERROR if strict else NOTE, message, place), node=row.name)


def _change(pair: Pair) -> tuple[str, str] | None:
    """The rule and the message; nothing for a layer that is in both by its name."""
    if pair.old is None:
        names = " or ".join(repr(row.name) for row in pair.candidates[:NAMED])
        return ADDED, f"not in the baseline{f', unless it is {names} there' if names else ''}"
    if pair.new is None:
        return REMOVED, "only in the baseline"
    if not pair.renamed:
        return None
    guessed = ", matched by shape and order alone" if pair.by == BY_SHAPE else ", recognised by its weight"
    return RENAMED, f"{pair.old.name!r} in the baseline{guessed}"


def _note(rule: str, severity: str, message: str, place: Place) -> Finding:
    return Finding(rule=rule, severity=severity, node="", message=message, place=place)
