"""An audit in words: how many layers were audited, and what is known of the network."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable

from convsv_cli.deadline import WORDS
from convsv_cli.names import printable
from convsv_cli.renderers.numbers import as_written, counted, figure, percent, times
from convsv_cli.report import (
    BOUNDED,
    COMPLETE,
    COVARIANCE,
    UNBOUNDED,
    UPPER,
    Audit,
    Block,
    Empirical,
    NetworkBound,
    PairBound,
    Settings,
    shared,
)

FEW, MANY = 4, 20
"""Nodes of one kind, and lines; the others are in the JSON report."""


def described(
    path: str, format_name: str, opset: int | None, inputs: Iterable[tuple[str, tuple[int | str, ...]]]
) -> list[str]:
    """What a model is: its file, format and inputs."""
    shapes = [f"{name} {times(shape) or 'scalar'}" for name, shape in inputs]
    return [path, f"{format_name} opset {opset}" if opset is not None else format_name, *shapes]


def covered(audit: Audit) -> str:
    """How many of the rows that are layers were audited, how many rows are none, and what ended it early."""
    others = len(audit.layers) - audit.applicable
    not_layers = f", {others} not applicable" if others else ""
    how = f", {WORDS[audit.status]}" if audit.status != COMPLETE else ""
    return f"{audit.audited} of {audit.applicable} weight layers audited{not_layers}{how}"


def network_lines(audit: Audit) -> list[str]:
    """The certified bound or what stands in the way of one, then estimates of the Lipschitz constant."""
    bound = audit.bound
    seen = [] if bound.empirical is None else [_empirical(bound, bound.empirical)]
    left_out = _shortened([f"  {line}" for line in bound.left_out])
    return [*_status(bound, audit.settings), *_pairs(bound.pairs), *left_out, *seen, *_products(audit)]


def bound_figure(bound: NetworkBound) -> str:
    """The network's bound, rounded up; a power of ten where it is beyond the largest float."""
    if math.isfinite(bound.lipschitz) or bound.log10 is None:
        return figure(bound.lipschitz, UPPER)
    return f"10^{math.ceil(bound.log10 * 100) / 100:.2f}"


def quantised_line(bound: NetworkBound) -> str:
    """What is proven of a network that rounds, instead of a Lipschitz constant; empty for another one."""
    found = bound.quantised
    if found is None:
        return ""
    steps = f"the steps of {counted(found.quantisers, 'quantiser')}"
    if found.reason:
        return f"nor is there a bound with a term for {steps}: {found.reason}"
    factor, added = figure(found.lipschitz, UPPER), figure(found.added, UPPER)
    return f"|f(x) - f(y)| ≤ {factor}·|x - y| + {added}{for_inputs(bound)}, the latter for {steps}"


def for_inputs(bound: NetworkBound) -> str:
    """The box of inputs for which the network's bound holds; empty where it holds for all."""
    ends = " to ".join(map(as_written, bound.input_range or ()))
    return f" for inputs from {ends}" if ends else ""


def between(settings: Settings) -> str:
    """The tensors that the network is bounded between, as far as they were chosen; empty where none was."""
    named = (("from", settings.sources), ("to", settings.targets))
    return "".join(f" {word} {', '.join(map(printable, names))}" for word, names in named if names)


def pair_figure(pair: PairBound) -> str:
    """The bound of a pair, rounded up."""
    return figure(pair.lipschitz, UPPER) if math.isfinite(pair.lipschitz) else "none"


def obstacles(bound: NetworkBound) -> dict[tuple[str, str], list[str]]:
    """The nodes without a bound, by operator and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for obstacle in bound.obstacles:
        groups.setdefault((obstacle.op, obstacle.reason), []).append(obstacle.node)
    return groups


def what_products_miss(bound: NetworkBound) -> str:
    """Why a product of layer norms proves nothing: by what is known to be there, which may be nothing."""
    if bound.structure:
        return f"not a bound of the network: it ignores {', '.join(bound.structure)}"
    return "not a bound of the network by itself: it knows the layers, not what is between them"


def factor(block: Block) -> str:
    """What a block multiplies the bound by."""
    return figure(block.factor, UPPER) if math.isfinite(block.factor) else "unbounded"


def share_heading(blocks: tuple[Block, ...]) -> str:
    """What the shares of blocks are of: the network's bound, unless some block takes from that."""
    return "share of growth" if any(0 < block.factor < 1 for block in blocks) else "share of log L"


def routes_differ(blocks: tuple[Block, ...]) -> bool:
    """Whether some factors are bounds of their blocks, and some are not."""
    return len({block.route for block in blocks}) > 1


def about_routes(blocks: tuple[Block, ...]) -> str:
    """What factors of blocks that were bounded at once mean; empty where there are none."""
    together = sum(block.route == COVARIANCE for block in blocks)
    if together < 2:
        return ""
    which = f"{together} blocks were bounded at once, by covariance"
    return f"{which}: the product of the factors is a bound, but none need be one of its block by itself"


def with_shares(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """The blocks; in saved reports of older versions, some shares are below 0 and others above 1."""
    strange = any(block.share is not None and not 0 <= block.share <= 1 for block in blocks)
    return shared(blocks) if strange else blocks


def share_text(block: Block) -> str:
    """The block's share of what the network amplifies, in logarithms; a block that shrinks has none."""
    if block.share is None:
        return "shrinks" if 0 < block.factor < 1 else ""
    return percent(block.share)


def _pairs(pairs: tuple[PairBound, ...]) -> list[str]:
    """A small table; one that would be long is cut."""
    if not pairs:
        return []
    rows = [("from", "to", "bound ≤", "")]
    rows += [(pair.start, pair.end, pair_figure(pair), pair.reason) for pair in pairs]
    *widths, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        f"  {start:{widths[0]}}  {end:{widths[1]}}  {bound:>{widths[2]}}  {reason}".rstrip()
        for start, end, bound, reason in rows
    ]
    return [lines[0], *_shortened(lines[1:])]


def _status(bound: NetworkBound, settings: Settings) -> list[str]:
    if bound.status == BOUNDED:
        seen = ", ".join([*_not_folded(bound), *bound.folded])
        structure = f" ({seen})" if seen else ""
        of = f"{between(settings)}{for_inputs(bound)}"
        return [f"network: certified Lipschitz bound (L2){of} ≤ {bound_figure(bound)}{structure}"]
    if bound.status == UNBOUNDED:
        because = f"because of {counted(len(bound.obstacles), 'node')}"
        return [
            f"network: no certified Lipschitz bound{between(settings)}, {because}",
            *_shortened([_obstacle(op, why, nodes) for (op, why), nodes in obstacles(bound).items()]),
            *_shortened(
                [
                    f"  bounded part: {part.start or 'input'} → {part.end or 'output'}"
                    f" ≤ {figure(part.lipschitz, UPPER)}"
                    for part in bound.parts
                ]
            ),
            *([f"  {quantised_line(bound)}"] if bound.quantised else []),
        ]
    return [f"network: no bound: {bound.reason}"]


def _not_folded(bound: NetworkBound) -> list[str]:
    """What was met and is not the beginning of a line of what was folded; that is the next one, if any."""
    done = [*sorted(bound.folded), ""]
    return [
        line
        for line in bound.structure
        if not done[bisect_left(done, line, hi=len(done) - 1)].startswith(line)
    ]


def _obstacle(op: str, reason: str, nodes: list[str]) -> str:
    more = f" and {len(nodes) - FEW} more" if len(nodes) > FEW else ""
    return f"  {', '.join(nodes[:FEW])}{more} ({op}): {reason}"


def _empirical(bound: NetworkBound, found: Empirical) -> str:
    tried = f"{found.pairs} pairs and {found.directions} directions, {found.source}"
    gap = ""
    if bound.log10 is not None and found.ratio > 0:
        gap = f"; the gap is 10^{max(0.0, bound.log10 - math.log10(found.ratio)):.1f}"
    return f"  seen: a ratio of {figure(found.ratio)} ({tried}): an estimate from below{gap}"


def _products(audit: Audit) -> list[str]:
    products = dict(audit.network.product)
    figures = [
        f"{m.name} {figure(products[m.name], m.kind)}"
        for m in audit.methods
        if m.column and products.get(m.name) is not None
    ]
    if not figures:
        return []
    return [f"product of layer norms: {', '.join(figures)}", f"  {what_products_miss(audit.bound)}"]


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - MANY
    return lines if more <= 0 else [*lines[:MANY], f"  … and {more} more, in the JSON report"]
