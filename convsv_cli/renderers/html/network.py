"""The whole network: its bound, the products that are none, and the blocks that the bound comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from convsv_cli.renderers.audit_text import (
    about_routes,
    between,
    bound_figure,
    factor,
    for_inputs,
    routes_differ,
    share_heading,
    what_products_miss,
    with_shares,
)
from convsv_cli.renderers.html.axis import (
    INTERVAL,
    LIMIT,
    PRODUCT,
    RANGE,
    SEEN,
    STEP,
    Mark,
    Scale,
    Track,
    log,
    point,
    scale_of,
)
from convsv_cli.renderers.html.verdict import limits_of
from convsv_cli.renderers.numbers import figure
from convsv_cli.report import BOUNDED, Audit, Block

AGREES = math.log10(1.01)
BEYOND = 300
"""Powers of ten that are not written out."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A figure about the whole network: what it is, what it says, its logarithm, and how it is drawn."""

    name: str
    figure: str
    says: str
    log10: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """Several figures on one axis: each with its marks, and which kinds of marks there are."""

    scale: Scale
    rows: tuple[tuple[Reading, Track], ...]
    marks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BlockTable:
    """The blocks from input to output.

    Attributes:
        scale: an axis, where every block has a bound that is not zero.
        shared: what the blocks have shares of; empty where they have none.
        rows: each block, and its step on the axis.
        heaviest: the block with the largest factor, where it stands out.
        routed: whether the routes to the factors differ.
        remark: what the routes mean; empty for nothing to say.
    """

    scale: Scale | None
    shared: str
    rows: tuple[tuple[Block, Track | None], ...]
    heaviest: Block | None
    routed: bool
    remark: str


def ruler_of(audit: Audit) -> Ruler | None:
    """The bound, what was seen, and the products; None where there is none of these."""
    readings = list(_readings(audit))
    if not readings:
        return None
    gate = limits_of(audit.verdict).get("")
    limit = [] if gate is None else [log(gate.limit)]
    scale = scale_of([*(reading.log10 for reading in readings), *limit])
    seen = next((r.log10 for r in readings if r.kind == SEEN), None)
    rows = tuple((reading, _track(reading, scale, limit, seen)) for reading in readings)
    kinds = {mark.kind for _, track in rows for mark in track.marks}
    marks = tuple(kind for kind in (INTERVAL, SEEN, PRODUCT, LIMIT) if kind in kinds)
    return Ruler(scale=scale, rows=rows, marks=marks)


def story_of(audit: Audit) -> str:
    """What the product of the layers' norms would have said, and what is proven."""
    product = dict(audit.network.product).get("certified")
    told = f"A product of layer norms is {what_products_miss(audit.bound)}."
    if audit.bound.log10 is None or not product or not math.isfinite(product):
        return told
    gap = abs(log(product) - audit.bound.log10)
    times = figure(10**gap) if gap < BEYOND else f"10^{gap:.0f}"
    if gap < AGREES:
        return f"{told} Here it happens to agree with the certified bound."
    if log(product) > audit.bound.log10:
        return f"{told} Here it would be {times} times the certified bound."
    return f"{told} Here it would claim a bound {times} times smaller than the certified one."


def block_table(blocks: tuple[Block, ...]) -> BlockTable | None:
    """The steps from input to output; None where there are no blocks."""
    if not blocks:
        return None
    blocks = with_shares(blocks)
    steps = _steps(blocks)
    scale = scale_of(end for step in steps for end in step) if steps else None
    tracks: list[Track | None] = [None] * len(blocks)
    if scale:
        tracks = [_step(block, step, scale) for block, step in zip(blocks, steps, strict=True)]
    return BlockTable(
        scale=scale,
        shared=share_heading(blocks) if any(block.share is not None for block in blocks) else "",
        rows=tuple(zip(blocks, tracks, strict=True)),
        heaviest=max(blocks, key=lambda block: block.factor) if scale and len(blocks) > 1 else None,
        routed=routes_differ(blocks),
        remark=about_routes(blocks),
    )


def _readings(audit: Audit) -> Iterator[Reading]:
    bound, empirical = audit.bound, audit.bound.empirical
    if bound.status == BOUNDED and bound.log10 is not None:
        says = f"proven: no perturbation is amplified by more{between(audit.settings)}{for_inputs(bound)}"
        yield Reading(
            name="certified bound ≤", figure=bound_figure(bound), says=says, log10=bound.log10, kind=INTERVAL
        )
    if empirical is not None:
        tried = f"{empirical.pairs} pairs and {empirical.directions} directions"
        says = f"an estimate: the largest ratio in {tried}, {empirical.source}"
        yield Reading(
            name="observed ≥",
            figure=figure(empirical.ratio),
            says=says,
            log10=log(empirical.ratio),
            kind=SEEN,
        )
    products = dict(audit.network.product)
    for method in audit.methods:
        value = products.get(method.name) if method.column else None
        if value is not None:
            yield Reading(
                name=f"product of {method.column.removesuffix(' ≤')}",
                figure=figure(value, method.kind),
                says="not a bound of the network",
                log10=log(value),
                kind=PRODUCT,
            )


def _track(reading: Reading, scale: Scale, limit: list[float], seen: float | None) -> Track:
    """With the network's limit, and a line from what was seen to what is proven."""
    marks = [point(LIMIT, scale.at(value)) for value in limit]
    at = scale.at(reading.log10)
    if reading.kind == INTERVAL and seen is not None and math.isfinite(seen):
        marks.append(Mark(kind=RANGE, start=min(at, scale.at(seen)), end=at))
    if math.isfinite(reading.log10):
        marks.append(point(reading.kind, at))
    return Track(words=f"{reading.name} {reading.figure}", marks=tuple(marks))


def _steps(blocks: tuple[Block, ...]) -> list[tuple[float, float]]:
    """The logarithm of the bound before and after each block; none where one is not finite."""
    logs = [log(block.factor) for block in blocks]
    if not all(map(math.isfinite, logs)):
        return []
    ends = list(accumulate(logs))
    return list(zip([0.0, *ends[:-1]], ends, strict=True))


def _step(block: Block, step: tuple[float, float], scale: Scale) -> Track:
    words = f"times {factor(block)}, from 10^{step[0]:.2f} to 10^{step[1]:.2f}"
    return Track(words=words, marks=(Mark(kind=STEP, start=scale.at(min(step)), end=scale.at(max(step))),))
