"""The search for good slopes and multipliers, by gradients, for many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from convsv_cli import limits
from convsv_cli.local.backward import lower_bounds
from convsv_cli.local.choices import Choice, detached
from convsv_cli.local.rows import Rows
from convsv_cli.local.steps import Program
from convsv_cli.numerics.adam import Adam

SLOPE_RATE, MULTIPLIER_RATE = 0.05, 0.3
MEMORY = 2**30
"""Bytes that the tensors of a search may take, about."""
COPIES = 24
"""Of the tensors of a row that there are at once: parameters, gradients, Adam's means, and minima."""


def at_once(program: Program) -> int:
    """How many rows have room in memory together.

    Args:
        program: of float32.
    """
    return max(1, int(min(MEMORY, limits.room())) // (4 * COPIES * max(1, program.entries)))


def improved(
    rows: Rows, choices: Sequence[Choice], steps: int, told: Callable[[], None] = lambda: None
) -> tuple[list[Choice], Tensor]:
    """Better choices, and their bounds [n], rounded: of each row the best ones that were seen.

    Args:
        rows: directions at samples.
        choices: where to start from.
        steps: of the search.
        told: called after each step.
    """
    leaves, kept = detached(choices, leaf=True), detached(choices)
    slopes = [each for leaf in leaves for each in (leaf.below, leaf.above)]
    multipliers = [leaf.log_multiplier for leaf in leaves]
    optimiser = Adam([*slopes, *multipliers])
    rates = [SLOPE_RATE] * len(slopes) + [MULTIPLIER_RATE] * len(multipliers)
    best = torch.full_like(rows.radius, -torch.inf)
    for _ in range(steps if leaves else 0):  # a linear network leaves nothing to choose
        bounds = lower_bounds(rows, leaves)
        best = _keep(kept, leaves, best, bounds.detach())
        (-bounds.sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step(rates)
        told()
    with torch.no_grad():
        bounds = lower_bounds(rows, leaves)
    return kept, _keep(kept, leaves, best, bounds)


def _keep(kept: Sequence[Choice], new: Sequence[Choice], best: Tensor, bounds: Tensor) -> Tensor:
    """Keep the new choices of rows where these are better; the best bounds."""
    rows = (bounds > best).nonzero()[:, 0]
    for old, choice in zip(kept, new, strict=True):
        for one, two in zip(old.tensors, choice.tensors, strict=True):
            one[rows] = two.detach()[rows]
    return torch.maximum(best, bounds)
