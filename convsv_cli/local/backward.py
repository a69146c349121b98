"""Backward linear bounds: reverse-mode differentiation with another rule at functions of numbers.

The quantity is <v, y> for the output y. Going backwards, it is kept to be at least the sum of <v_t, t> over
the tensors t that are still to be gone through, and of a constant. An affine step hands v to its inputs by
its adjoint; where a tensor is used several times, what comes back adds up. A function of numbers f(z) hands
on any vector g that one likes: <v, f(z)> is at least <g, z> + h, with the dual's h.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convsv_cli.local.choices import Choice
from convsv_cli.local.dual import minimum
from convsv_cli.local.rows import Around, Rows
from convsv_cli.local.steps import Affine, Elementwise


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
