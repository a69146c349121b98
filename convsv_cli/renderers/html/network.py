"""The whole network: its bound beside the products that are none, and what stands in the way of one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.renderers.html.gates import limits_of
from convsv_cli.renderers.html.scale import Scale, log, scale_of
from convsv_cli.renderers.html.track import INTERVAL, LIMIT, PRODUCT, RANGE, SEEN, Mark, Track, point
from convsv_cli.renderers.html.words import among, bound_figure
from convsv_cli.renderers.network_text import what_products_miss
from convsv_cli.renderers.numbers import counted, figure
from convsv_cli.report import BOUNDED, UPPER, Audit, NetworkBound

AGREES = math.log10(1.01)
BEYOND = 300
"""Powers of ten that are not written out."""


@dataclass(frozen=True, kw_only=True)
class RulerRow:
    """A figure about the whole network, and what it says."""

    name: str
    figure: str
    says: str
    proven: bool
    track: Track


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """Several figures on one axis."""

    scale: Scale
    rows: tuple[RulerRow, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A figure before it has a place: what it is, its logarithm, and how it is drawn."""

    name: str
    figure: str
    says: str
    log10: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class ObstacleGroup:
    """Nodes that have no bound for the same reason."""

    op: str
    reason: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PartRow:
    """A stretch of the network that has a bound."""

    start: str
    end: str
    blocks: str
    figure: str


def ruler_of(audit: Audit) -> Ruler | None:
    """The bound, what was seen, and the products; None where there is none of these."""
    readings = list(_readings(audit))
    if not readings:
        return None
    gate = limits_of(audit.verdict).get("")
    limit = [] if gate is None else [log(gate.limit)]
    scale = scale_of([*(reading.log10 for reading in readings), *limit])
    seen = next((r.log10 for r in readings if r.kind == SEEN), None)
    rows = tuple(_row(reading, scale, limit, seen) for reading in readings)
    kinds = {mark.kind for row in rows for mark in row.track.marks}
    marks = tuple(kind for kind in (INTERVAL, SEEN, PRODUCT, LIMIT) if kind in kinds)
    return Ruler(scale=scale, rows=rows, marks=marks)


def _readings(audit: Audit) -> Iterator[Reading]:
    bound, empirical = audit.bound, audit.bound.empirical
    if bound.status == BOUNDED and bound.log10 is not None:
        says = f"proven: nothing is amplified more{among(bound)}"
        yield Reading(
            name="certified bound ≤", figure=bound_figure(bound), says=says, log10=bound.log10, kind=INTERVAL
        )
    if empirical is not None:
        tried = f"{empirical.pairs} pairs and {empirical.directions} directions"
        says = f"an estimate: the largest ratio in {tried}, {empirical.source}"
        yield Reading(
            name="seen ≥", figure=figure(empirical.ratio), says=says, log10=log(empirical.ratio), kind=SEEN
        )
    products = dict(audit.network.product)
    for method in audit.methods:
        value = products.get(method.name) if method.column else None
        if value is not None:
            yield Reading(
                name=f"product of {method.column.removesuffix(' ≤')}",
                figure=figure(value, method.kind),
                says="no bound of the network",
                log10=log(value),
                kind=PRODUCT,
            )


def _row(reading: Reading, scale: Scale, limit: list[float], seen: float | None) -> RulerRow:
    """With the network's limit, and a line from what was seen to what is proven."""
    marks = [point(LIMIT, scale.at(value)) for value in limit]
    at = scale.at(reading.log10)
    if reading.kind == INTERVAL and seen is not None and math.isfinite(seen):
        marks.append(Mark(kind=RANGE, start=min(at, scale.at(seen)), end=at))
    if math.isfinite(reading.log10):
        marks.append(point(reading.kind, at))
    return RulerRow(
        name=reading.name,
        figure=reading.figure,
        says=reading.says,
        proven=reading.kind == INTERVAL,
        track=Track(words=f"{reading.name} {reading.figure}", marks=tuple(marks)),
    )


def story_of(audit: Audit) -> str:
    """What the product of the layers' norms would have said, and what is proven."""
    product = dict(audit.network.product).get("certified")
    told = f"A product of layer norms is {what_products_miss(audit.bound)}."
    if audit.bound.log10 is None or not product or not math.isfinite(product):
        return told
    gap = abs(log(product) - audit.bound.log10)
    factor = figure(10**gap) if gap < BEYOND else f"10^{gap:.0f}"
    if gap < AGREES:
        return f"{told} Here it happens to agree with what is proven."
    if log(product) > audit.bound.log10:
        return f"{told} Here it would say {factor} times more than is proven."
    return f"{told} Here it would promise {factor} times less than can be proven."


def obstacles_of(bound: NetworkBound) -> tuple[ObstacleGroup, ...]:
    """The nodes without a bound, by operator and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for obstacle in bound.obstacles:
        groups.setdefault((obstacle.op, obstacle.reason), []).append(obstacle.node)
    return tuple(
        ObstacleGroup(op=op, reason=reason, nodes=tuple(nodes)) for (op, reason), nodes in groups.items()
    )


def parts_of(bound: NetworkBound) -> tuple[PartRow, ...]:
    """The stretches with a bound, where the whole has none."""
    return tuple(
        PartRow(
            start=part.start or "input",
            end=part.end or "output",
            blocks=counted(part.blocks, "block"),
            figure=figure(part.lipschitz, UPPER),
        )
        for part in bound.parts
    )
