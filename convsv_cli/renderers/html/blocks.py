"""Where the network's bound comes from: block by block, each from where the one before has ended."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convsv_cli.renderers.html.scale import Scale, log, scale_of
from convsv_cli.renderers.html.track import STEP, Mark, Track
from convsv_cli.renderers.html.words import sort_key
from convsv_cli.renderers.network_text import share_heading, share_text, with_shares
from convsv_cli.renderers.numbers import figure
from convsv_cli.report import UPPER, Block


@dataclass(frozen=True, kw_only=True)
class BlockRow:
    """A block: what it multiplies the bound by, and the bound up to here."""

    position: int
    name: str
    ops: str
    layers: tuple[str, ...]
    factor: str
    key: str | None
    share: str
    share_key: str | None
    heaviest: bool
    track: Track | None


@dataclass(frozen=True, kw_only=True)
class BlockTable:
    """All blocks; an axis where every one has a bound that is not zero, and what they have shares of."""

    scale: Scale | None
    shared: str
    rows: tuple[BlockRow, ...]


def block_table(blocks: tuple[Block, ...]) -> BlockTable | None:
    """The steps from input to output; None where there are no blocks."""
    if not blocks:
        return None
    blocks = with_shares(blocks)
    steps = _steps(blocks)
    scale = scale_of(end for step in steps for end in step) if steps else None
    heaviest = max(blocks, key=lambda block: block.factor) if scale and len(blocks) > 1 else None
    rows = tuple(
        _row(i, block, steps[i - 1] if steps else None, scale, heaviest=block is heaviest)
        for i, block in enumerate(blocks, start=1)
    )
    shares = share_heading(blocks) if any(block.share is not None for block in blocks) else ""
    return BlockTable(scale=scale, shared=shares, rows=rows)


def _steps(blocks: tuple[Block, ...]) -> list[tuple[float, float]]:
    """The logarithm of the bound before and after each block; none where one is not finite."""
    logs = [log(block.factor) for block in blocks]
    if not all(map(math.isfinite, logs)):
        return []
    ends = [math.fsum(logs[: i + 1]) for i in range(len(logs))]
    return list(zip([0.0, *ends[:-1]], ends, strict=True))


def _row(
    position: int, block: Block, step: tuple[float, float] | None, scale: Scale | None, *, heaviest: bool
) -> BlockRow:
    factor = figure(block.factor, UPPER) if math.isfinite(block.factor) else "unbounded"
    return BlockRow(
        position=position,
        name=block.name,
        ops=" ".join(block.ops),
        layers=tuple(layer for layer in block.layers if layer != block.name),
        factor=factor,
        key=sort_key(block.factor),
        share=share_text(block),
        share_key=sort_key(block.share),
        heaviest=heaviest,
        track=None if step is None or scale is None else _track(factor, step, scale),
    )


def _track(factor: str, step: tuple[float, float], scale: Scale) -> Track:
    start, end = scale.at(min(step)), scale.at(max(step))
    words = f"times {factor}, from 10^{step[0]:.2f} to 10^{step[1]:.2f}"
    return Track(words=words, marks=(Mark(kind=STEP, start=start, end=end),))
