"""What is free in a backward bound: slopes and multipliers. All give a bound, and some a good one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convsv_cli.local.pieces import Piecewise
from convsv_cli.local.region import above, chunks, select
from convsv_cli.local.rows import Around, Rows
from convsv_cli.local.steps import LIMITED

LEAST = 1e-25
"""Of all multipliers; the largest is 1 over it."""
FIRST_MULTIPLIER = -2.0
"""The logarithm that a search starts from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """What is free at a function of numbers.

    Attributes:
        below, above: slopes [n, *shape]: g is v times the first where v > 0, and times the second elsewhere.
        log_multiplier: logarithms [n] of the ball's multiplier, as a share of |v| / radius.
    """

    below: Tensor
    above: Tensor
    log_multiplier: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All three."""
        return self.below, self.above, self.log_multiplier

    def take(self, rows: Tensor) -> Choice:
        """Those of some rows."""
        return Choice(
            below=self.below[rows], above=self.above[rows], log_multiplier=self.log_multiplier[rows]
        )

    def double(self) -> Choice:
        """In float64."""
        below, above, log_multiplier = (each.double() for each in self.tensors)
        return Choice(below=below, above=above, log_multiplier=log_multiplier)

    def slopes_of(self, v: Tensor) -> Tensor:
        """The vector g that goes on backwards, [n, *shape].

        Args:
            v: the cotangent of what the function makes, [n, *shape].
        """
        return sloped(v, self.below, self.above)

    def multiplier(self, v: Tensor, around: Around) -> Tensor:
        """The ball's multiplier [n], at least 0 and finite.

        Args:
            v: the cotangent of what the function makes, [n, *shape].
            around: what is known of the function's input.
        """
        length = torch.linalg.vector_norm(v.detach().flatten(1), dim=1)
        radius = around.radius.clamp_min(torch.finfo(v.dtype).tiny)
        multiplier: Tensor = self.log_multiplier.exp() * length / radius
        return multiplier.clamp(LEAST, 1 / LEAST)


def first_choices(rows: Rows) -> list[Choice]:
    """Those of CROWN: a chord where the function bends to the other side, and one of its lines elsewhere."""
    steps = rows.program.activations
    return [
        _nothing(around) if step.op == LIMITED else _first(around)
        for step, around in zip(steps, rows.around, strict=True)
    ]


def crown_choices(rows: Rows) -> list[Choice]:
    """As `first_choices`, without any ball."""
    multiplier = torch.full_like(rows.radius, -torch.inf)
    return [
        Choice(below=each.below, above=each.above, log_multiplier=multiplier) for each in first_choices(rows)
    ]


def _nothing(around: Around) -> Choice:
    """Nothing goes on backwards: at the input, its ball says all but what its box does."""
    nothing = torch.zeros_like(around.centre)
    return Choice(below=nothing, above=nothing, log_multiplier=torch.zeros_like(around.radius))


def _first(around: Around) -> Choice:
    low, high = around.lower, around.upper
    lower, upper = around.enclosure.lower, around.enclosure.upper
    width = (high - low).clamp_min(torch.finfo(low.dtype).tiny)
    chord = torch.where(high > low, (upper(high) - upper(low)) / width, _slope(upper, low))
    multiplier = torch.full_like(around.radius, FIRST_MULTIPLIER)
    return Choice(below=_slope(lower, (low + high) / 2), above=chord, log_multiplier=multiplier)


def _slope(function: Piecewise, t: Tensor) -> Tensor:
    """Of its line at each number."""
    slopes = torch.zeros_like(t) + function.slopes[0]
    for knot, slope in zip(function.knots, function.slopes[1:], strict=True):
        slopes = torch.where(t > knot, torch.zeros_like(t) + slope, slopes)
    return slopes


def detached(choices: Sequence[Choice], *, leaf: bool = False) -> list[Choice]:
    """Copies.

    Args:
        choices: one for each function of numbers.
        leaf: whether gradients are asked for.
    """
    return [
        Choice(
            **{
                name: getattr(choice, name).detach().clone().requires_grad_(leaf)
                for name in ("below", "above", "log_multiplier")
            }
        )
        for choice in choices
    ]


def sloped(v: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """V times `lower` where v > 0, and times `upper` elsewhere; once differentiable in all three.

    In chunks that stay in the cache, as in `dual.minimum`.

    Args:
        v, lower, upper: [batch, *shape], finite.

    Returns:
        [batch, *shape].
    """
    flat = (x.flatten(1)[:, None] for x in (v, lower, upper))
    found: Tensor = _Sloped.apply(*flat)  # type: ignore[no-untyped-call]
    return found.view_as(v)


class _Sloped(torch.autograd.Function):
    """`sloped` of [batch, 1, elements]."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:  # noqa: ANN401 - torch's type
        v, lower, upper = inputs
        found = torch.empty_like(v)
        for index in chunks(v):
            torch.mul(v[index], _of_sign(v[index], lower[index], upper[index]), out=found[index])
        ctx.save_for_backward(v, lower, upper)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401 - torch's type
        v, lower, upper = ctx.saved_tensors
        by_v, by_lower, by_upper = (torch.empty_like(v) for _ in range(3))
        for index in chunks(v):
            here, back = v[index], grad[index]
            torch.mul(back, _of_sign(here, lower[index], upper[index]), out=by_v[index])
            torch.mul(back, here.clamp(min=0), out=by_lower[index])
            torch.mul(back, here.clamp(max=0), out=by_upper[index])
        return by_v, by_lower, by_upper


def _of_sign(v: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    return select(upper, lower, above(v, 0.0))
