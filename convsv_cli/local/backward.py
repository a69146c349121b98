"""Backward linear bounds, and the search for good slopes and multipliers in them, by gradients.

A bound is reverse-mode differentiation with another rule at functions of numbers. The quantity is <v, y> for
the output y. Going backwards, it is kept to be at least the sum of <v_t, t> over the tensors t that are still
to be gone through, and of a constant. An affine step hands v to its inputs by its adjoint; where a tensor is
used several times, what comes back adds up. A function of numbers f(z) hands on any vector g that one likes:
<v, f(z)> is at least <g, z> + h, with the dual's h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from convsv_cli import limits
from convsv_cli.local.choices import Choice, detached
from convsv_cli.local.dual import minimum
from convsv_cli.local.rows import Around, Rows
from convsv_cli.local.steps import Affine, Elementwise, Program
from convsv_cli.numerics.adam import Adam

SLOPE_RATE, MULTIPLIER_RATE = 0.05, 0.3
MEMORY = 2**30
"""Bytes that the tensors of a search may take, about."""
COPIES = 24
"""Of the tensors of a row that there are at once: parameters, gradients, Adam's means, and minima."""


def lower_bounds(rows: Rows, choices: Sequence[Choice], seen: dict[str, Tensor] | None = None) -> Tensor:
    """Lower bounds of <direction, output> while the input is in a ball; differentiable in all choices.

    They are rounded, so that they prove nothing: see `certificate`.

    Args:
        rows: directions at samples.
        choices: one for each function of numbers.
        seen: is given the vectors that come back to the outputs of these, by name.

    Returns:
        [n].
    """
    program = rows.program
    cotangents = {program.output: rows.direction}
    total, at = rows.direction.new_zeros(len(rows)), len(choices)
    for step in reversed(program.steps):
        at -= isinstance(step, Elementwise)
        v = cotangents.pop(step.output, None)
        if v is None:
            continue
        if isinstance(step, Affine):
            if step.shift is not None:
                total = total + (v * step.shift).flatten(1).sum(1)
            for name, map_ in zip(step.inputs, step.maps, strict=True):
                _add(cotangents, name, map_.adjoint(v))
        else:
            if seen is not None:
                seen[step.output] = v
            g, gained = _through(v, rows.around[at], choices[at])
            total = total + gained
            _add(cotangents, step.input, g)
    v = cotangents[program.source]
    length = torch.linalg.vector_norm(v.flatten(1), dim=1)
    bounds: Tensor = total + (v * rows.x).flatten(1).sum(1) - rows.radius * length
    return bounds


def _through(v: Tensor, around: Around, choice: Choice) -> tuple[Tensor, Tensor]:
    """What goes on backwards, and what is gained."""
    g, multiplier = choice.slopes_of(v), choice.multiplier(v, around)
    least = minimum(v[:, None], g[:, None], multiplier[:, None], around.region)
    return g, least[:, 0] - multiplier * around.radius.square() / 2


def _add(cotangents: dict[str, Tensor], name: str, v: Tensor) -> None:
    cotangents[name] = cotangents[name] + v if name in cotangents else v


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
