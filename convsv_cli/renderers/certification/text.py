"""A certification in words and figures: in a terminal, as JSON and as CSV."""

from __future__ import annotations

import math
from collections.abc import Iterator

from convsv_cli.digits import short
from convsv_cli.names import inert
from convsv_cli.renderers.audit_text import described, with_shares
from convsv_cli.renderers.certification.curve import points, state
from convsv_cli.renderers.csv import comma_separated
from convsv_cli.renderers.numbers import LOWER, counted, figure, sample_share, whole_percent
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.renderers.screen import indented, shown
from convsv_cli.report import (
    BOUNDED,
    COVARIANCE,
    CURVATURE,
    EUCLIDEAN,
    LOCAL,
    MARGIN,
    MAXIMUM,
    UPPER,
    Attack,
    Block,
    Certification,
    Route,
    SampleRadius,
)

FEW = 0.01
"""Share of the correctly classified samples, below which a certificate is said to prove almost nothing."""
LARGEST_BLOCKS = 3
BY_CHANCE = (
    "only {:,} of {:,} samples are classified correctly, hardly more than by chance: see --input-mean and "
    "--input-std, and how classes are counted"
)
DECIDED = "local bounds only decided the requested radii; --radii looks for the radius of each sample"
ENOUGH, CHANCE = 20, 1.5
"""Samples from which on accuracy says something, and how often guesses are right at most, as a multiple."""
QUANTILES = {0.0: "smallest", 0.5: "median", 1.0: "largest"}
CONSTANTS = {
    "lipschitz": "Lipschitz bound of the network",
    "lipschitz_before_head": "Lipschitz bound up to the last layer",
    "largest_curvature": "largest curvature of two logits' difference",
}
MEASURES = {EUCLIDEAN: "L2", MAXIMUM: "L∞"}
ROUTES = {
    MARGIN: "margins of the logits over Lipschitz bounds",
    CURVATURE: "curvature of the logits (CRC)",
    LOCAL: "local linear bounds, with a box and a ball at each activation",
}
POINTS = 101
"""Of the curve in JSON."""
ROWS, BAR = 11, 40
NARROWEST = 25
"""Of the column that says what a count is of."""
HEADER = ("sample", "label", "predicted", "correct", "radius", "route", "broken_at", "ended")
LEGEND = (
    "certified: classified correctly, and provably so under every perturbation up to the radius ({})",
    "robust to PGD: classified correctly, and the attack found nothing within the radius; an upper bound",
    "undecided: classified correctly, and neither certified nor attacked successfully",
)


def table(certification: Certification, terminal: Terminal) -> str:
    """The document, which ends with a line break; texts from files are made inert here."""
    certification = inert(certification)
    lines = [
        *indented([title(certification)], 2),
        "",
        *_levels(certification),
        "",
        *_quantiles(certification),
        *_curve(certification),
        *indented([f"{each}." for each in _sentences(certification)], 2),
        "",
        *indented([LEGEND[0].format(MEASURES[certification.settings.norm])], 2),
        *indented(LEGEND[1:] if certification.attack is not None else (), 2),
    ]
    return shown(lines, terminal)


def document(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """JSON; `schema/certification-1.schema.json` describes it, and what is not finite is null."""
    from convsv_cli.wire import certification as wire
    from convsv_cli.wire import form

    curve = [(point.radius, point.share) for point in points(certification, POINTS)]
    return form.text(wire.document(certification, curve=curve, reasons=reasons(certification)))


def rows(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """CSV, a row per sample; `broken_at` is empty where no attack was tried or none succeeded.

    `ended` is false where the work was not: the radius is proven, and may grow.
    """
    return comma_separated([HEADER, *map(_row, enumerate(certification.samples))])


def title(certification: Certification) -> str:
    """The model and the data."""
    model = certification.model
    count = f"{counted(len(certification.samples), 'sample')} of {certification.settings.data}"
    return " · ".join([*described(model.path, model.format, model.opset, model.input_shape), count])


def radius(value: float) -> str:
    """Rounded down; there is none where no class ever changes."""
    return "any" if math.isinf(value) else figure(value, LOWER)


def quantile(level: float) -> str:
    """Its name."""
    return QUANTILES.get(level, f"{short(100 * level)} %")


def route(found: Route) -> str:
    """What a route rests on, or why it leads nowhere."""
    if found.reason:
        return f"{ROUTES[found.name]}: not used, {found.reason}"
    constants = (f"{CONSTANTS[name]} ≤ {figure(value, UPPER)}" for name, value in found.constants)
    rests = ", ".join([*constants, f"{found.arithmetic} arithmetic"])
    return f"{ROUTES[found.name]}: {rests}; gives the largest radius for {counted(found.best, 'sample')}"


def ways(certification: Certification) -> Iterator[str]:
    """What radii rest on, and how far they were looked for."""
    yield from map(route, certification.routes)
    local = any(found.name == LOCAL and not found.reason for found in certification.routes)
    if local and not certification.settings.radii:
        yield DECIDED


def attack(tried: Attack) -> str:
    """What was tried."""
    if tried.failure:
        return f"not attacked: {tried.failure}"
    return (
        f"attack: PGD, {tried.steps} steps, {tried.restarts} starts, {tried.seconds:.1f} s; what it does not "
        "break is not proven to be robust"
    )


def reasons(certification: Certification) -> Iterator[str]:
    """Why (almost) nothing is certified; nothing where that is not so."""
    if _by_chance(certification):
        yield BY_CHANCE.format(certification.correct, len(certification.samples))
    eps = min(certification.settings.eps)
    certified, correct = certification.certified(eps), certification.correct
    if certified > FEW * correct or not correct:
        return
    amount = "nothing" if certified == 0 else "almost nothing"
    yield f"at radius {certification.settings.spelled(eps)}, {amount} is certified{_because(certification)}"
    bound = certification.bound
    blocks = sorted(with_shares(bound.blocks), key=lambda block: -(block.share or 0))[:LARGEST_BLOCKS]
    whole = "its logarithm" if all(block.factor >= 1 for block in bound.blocks) else "all growth"
    named = [_block(block, whole) for block in blocks]
    if bound.status == BOUNDED and bound.lipschitz > 1 and len(bound.blocks) > 1:
        worst = f"the bound multiplies the worst cases of {len(bound.blocks)} blocks"
        if any(block.route == COVARIANCE for block in bound.blocks):
            worst = f"the bound holds for the worst case of each activation in {len(bound.blocks)} blocks"
        yield f"{worst}, which no input need attain all at once; most of it comes from {', '.join(named)}"
    if certification.settings.attack and any(level.robust for level in certification.levels):
        yield "no certificate does not mean that attacks succeed: see what the attack breaks"
    yield "networks trained to have a small bound certify more: see Training in convsv's README"


def _row(numbered: tuple[int, SampleRadius]) -> tuple[int | float | str, ...]:
    index, sample = numbered
    broken = "" if sample.broken is None or math.isinf(sample.broken) else sample.broken
    correct, ended = (str(each).lower() for each in (sample.correct, sample.ended))
    return (index, sample.label, sample.predicted, correct, sample.radius, sample.route, broken, ended)


def _by_chance(certification: Certification) -> bool:
    """Whether accuracy is about that of guesses among the classes that occur, so that something is amiss."""
    samples = certification.samples
    classes = 1 + max(max(sample.label, sample.predicted) for sample in samples)
    return len(samples) >= ENOUGH and certification.correct * classes < CHANCE * len(samples)


def _levels(certification: Certification) -> Iterator[str]:
    """A line for each count: what it is of, which share of the samples, and how many."""
    total, correct = len(certification.samples), certification.correct
    rows = [("clean accuracy", sample_share(correct, total), correct)]
    for level in certification.levels:
        at = f"at {level.spelled}"
        rows.append((f"certified {at}", sample_share(level.certified, total, LOWER), level.certified))
        if level.robust is not None:
            rows.append((f"robust to PGD {at}", sample_share(level.robust, total, UPPER), level.robust))
            rows.append((f"undecided {at}", sample_share(level.undecided, total), level.undecided))
    width = max(NARROWEST, *(len(label) for label, *_ in rows))
    for label, share, count in rows:
        yield f"  {label:<{width}}  {share:>9}   {count:,} of {total:,}"


def _quantiles(certification: Certification) -> Iterator[str]:
    if not certification.radii:
        return
    names = [quantile(level) for level, _ in certification.quantiles]
    values = [radius(value) for _, value in certification.quantiles]
    widths = [max(map(len, pair)) for pair in zip(names, values, strict=True)]
    yield f"  radii of the {counted(certification.correct, 'correctly classified sample')}"
    for row in (names, values):
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    yield ""


def _curve(certification: Certification) -> Iterator[str]:
    """A line per radius; nothing where nothing is certified."""
    if not any(certification.radii):
        return
    total = len(certification.samples)
    yield "  certified accuracy by radius"
    for point in points(certification, ROWS):
        bar = "█" * round(BAR * point.share)
        yield f"  {short(point.radius, 4):>10}  {sample_share(point.count, total, LOWER):>8}  {bar}"
    yield ""


def _sentences(certification: Certification) -> Iterator[str]:
    if not certification.complete:
        yield state(certification)
    yield from reasons(certification)
    yield from ways(certification)
    if certification.attack is not None:
        yield attack(certification.attack)
    yield from (f"note: {note}" for note in certification.notes)


def _because(certification: Certification) -> str:
    bound, margin = certification.bound, certification.typical_margin
    radii = certification.radii
    if bound.status != BOUNDED or margin is None:
        found = [route.reason for route in certification.routes if route.reason]
        return f": {found[0]}" if found and len(found) == len(certification.routes) else ""
    median = radii[(len(radii) - 1) // 2]
    return (
        f": the Lipschitz bound is {figure(bound.lipschitz, UPPER)}, and the median logit margin "
        f"is {figure(margin)}, so that the median radius is {radius(median)}"
    )


def _block(block: Block, whole: str) -> str:
    part = "" if block.share is None else f", {whole_percent(block.share)} of {whole}"
    return f"{block.name} (≤ {figure(block.factor, UPPER)}{part})"
