"""What the table says about the whole network: its bound, or what stands in the way of one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from convsv_cli.renderers.numbers import as_written, figure, percent
from convsv_cli.report import BOUNDED, UNBOUNDED, UPPER, Audit, Block, Empirical, NetworkBound, shared

if TYPE_CHECKING:
    from rich.table import Table

FEW, MANY = 4, 20
"""Nodes of one kind, and lines; the others are in the JSON report."""


def bound_lines(audit: Audit) -> list[str]:
    """The certified bound, and what is known beside it."""
    bound = audit.bound
    lines = _status(bound)
    if bound.empirical is not None:
        lines.append(_empirical(bound, bound.empirical))
    return [*lines, *_products(audit)]


def _status(bound: NetworkBound) -> list[str]:
    if bound.status == BOUNDED:
        ends = " to ".join(map(as_written, bound.input_range or ()))
        box = f" for inputs from {ends}" if ends else ""
        met = [line for line in bound.structure if not any(done.startswith(line) for done in bound.folded)]
        seen = ", ".join([*met, *bound.folded])
        beside = f" ({seen})" if seen else ""
        return [f"network: certified Lipschitz bound (L2){box} ≤ {_size(bound)}{beside}"]
    if bound.status == UNBOUNDED:
        return [
            f"network: no certified Lipschitz bound, because of {_nodes(len(bound.obstacles))}",
            *_shortened(_obstacles(bound)),
            *_shortened(
                [
                    f"  bounded part: {_tensor(p.start, 'input')} → {_tensor(p.end, 'output')}"
                    f" ≤ {figure(p.lipschitz, UPPER)}"
                    for p in bound.parts
                ]
            ),
        ]
    return [f"network: no bound: {bound.reason}"]


def _obstacles(bound: NetworkBound) -> list[str]:
    """A line for all nodes that have the same operator and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for obstacle in bound.obstacles:
        groups.setdefault((obstacle.op, obstacle.reason), []).append(obstacle.node)
    return [
        f"  {', '.join(names[:FEW])}{f' and {len(names) - FEW} more' if len(names) > FEW else ''}"
        f" ({op}): {reason}"
        for (op, reason), names in groups.items()
    ]


def _size(bound: NetworkBound) -> str:
    if math.isfinite(bound.lipschitz) or bound.log10 is None:
        return figure(bound.lipschitz, UPPER)
    return f"10^{math.ceil(bound.log10 * 100) / 100:.2f}"


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


def what_products_miss(bound: NetworkBound) -> str:
    """Why a product of layer norms proves nothing: by what is known to be there, which may be nothing."""
    if bound.structure:
        return f"not a bound of the network: it ignores {', '.join(bound.structure)}"
    return "not a bound of the network by itself: it knows the layers, not what is between them"


def blocks_table(blocks: tuple[Block, ...]) -> Table:
    """Where the bound comes from."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("block", "operators"):
        table.add_column(name, overflow="fold")
    for name in ("factor ≤", share_heading(blocks)):
        table.add_column(name, justify="right")
    blocks = with_shares(blocks)
    heaviest = max(blocks, key=lambda block: block.factor, default=None)
    for block in blocks:
        share = share_text(block)
        factor = figure(block.factor, UPPER) if math.isfinite(block.factor) else "unbounded"
        style = "bold yellow" if block is heaviest else ""
        table.add_row(block.name, " ".join(block.ops), factor, share, style=style)
    return table


def share_heading(blocks: tuple[Block, ...]) -> str:
    """What the shares of blocks are of: the network's bound, unless some block takes from that."""
    return "share of growth" if any(0 < block.factor < 1 for block in blocks) else "share of log L"


def with_shares(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """The blocks; saved reports of older versions have shares below 0 beside others above 1."""
    strange = any(block.share is not None and not 0 <= block.share <= 1 for block in blocks)
    return shared(blocks) if strange else blocks


def share_text(block: Block) -> str:
    """Of what the network amplifies, in logarithms; what shrinks has none."""
    if block.share is None:
        return "shrinks" if 0 < block.factor < 1 else ""
    return percent(block.share)


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - MANY
    return lines if more <= 0 else [*lines[:MANY], f"  … and {more} more, in the JSON report"]


def _tensor(name: str, end: str) -> str:
    return name or end


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
