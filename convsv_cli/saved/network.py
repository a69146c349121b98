"""What a saved audit says of the whole network."""

from __future__ import annotations

import math

from convsv_cli.report import (
    AUDITED,
    BOUNDED,
    UNBOUNDED,
    UNKNOWN,
    Block,
    Empirical,
    LayerAudit,
    Method,
    NetworkBound,
    NetworkTotals,
    Obstacle,
    Part,
)
from convsv_cli.saved.value import Value


def totals_of(network: Value, layers: tuple[LayerAudit, ...], methods: tuple[Method, ...]) -> NetworkTotals:
    """Figures over all layers."""
    known = [name for name, _ in network["product"].members()]
    names = dict.fromkeys([*known, *(method.name for method in methods if method.column)])
    return NetworkTotals(
        product=tuple((name, _product(name, network["product"], layers)) for name in names),
        coverage=network["coverage"].norm(1.0),
        assumptions=network["assumptions"].texts()[: _of_layers(network, layers)],
    )


def bound_of(network: Value, layers: tuple[LayerAudit, ...]) -> NetworkBound:
    """What is proven of the network; unknown where the report is from before there were such bounds."""
    return NetworkBound(
        status=network["status"].choice((BOUNDED, UNBOUNDED, UNKNOWN), UNKNOWN),
        reason=network["reason"].text("" if network["status"].present else "the report does not say"),
        lipschitz=network["lipschitz_upper"].norm(),
        log10=_number(network["log10_lipschitz_upper"]),
        input_range=network["input_range"].pair(),
        blocks=tuple(map(_block, network["blocks"].items())),
        obstacles=tuple(map(_obstacle, network["unbounded"].items())),
        parts=tuple(map(_part, network["parts"].items())),
        structure=network["structure"].texts(),
        folded=network["folded"].texts(),
        assumptions=network["assumptions"].texts()[_of_layers(network, layers) :],
        empirical=_empirical(network["empirical"]),
        unrefined=_number(network["lipschitz_upper_unrefined"]),
        seconds=network["seconds"].norm(0.0),
    )


def _of_layers(network: Value, layers: tuple[LayerAudit, ...]) -> int:
    """How many of the assumptions are those of the layers, which come first; all where that is unclear."""
    lines = network["assumptions"].texts()
    ours = tuple(dict.fromkeys(line for layer in layers for line in layer.assumed))
    return len(ours) if lines[: len(ours)] == ours else len(lines)


def _product(name: str, products: Value, layers: tuple[LayerAudit, ...]) -> float | None:
    """A product that is null is infinite where every layer has the figure."""
    if products[name].present:
        return products[name].norm()
    named = any(name == known for known, _ in products.members())
    audited = [layer.measurement(name) for layer in layers if layer.status == AUDITED]
    return math.inf if named and audited and None not in audited else None


def _block(value: Value) -> Block:
    return Block(
        name=value["name"].text(),
        ops=value["ops"].texts(),
        layers=value["layers"].texts(),
        start=value["from"].text(""),
        end=value["to"].text(""),
        factor=value["factor"].norm(),
        share=_number(value["share"]),
    )


def _obstacle(value: Value) -> Obstacle:
    return Obstacle(node=value["node"].text(), op=value["op"].text(), reason=value["reason"].text(""))


def _part(value: Value) -> Part:
    return Part(
        start=value["from"].text(""),
        end=value["to"].text(""),
        blocks=value["blocks"].integer(0),
        lipschitz=value["lipschitz_upper"].norm(),
    )


def _empirical(value: Value) -> Empirical | None:
    if not value.present:
        return None
    return Empirical(
        ratio=value["ratio"].number(),
        pairs=value["pairs"].integer(0),
        directions=value["directions"].integer(0),
        source=value["source"].text(""),
        seconds=value["seconds"].norm(0.0),
    )


def _number(value: Value) -> float | None:
    return value.number() if value.present else None
