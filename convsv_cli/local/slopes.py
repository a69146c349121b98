"""Slopes that go on backwards: one where an activation is bounded from below, another where from above."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from convsv_cli.local.region import above, chunks, select


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
            torch.mul(v[index], _slope(v[index], lower[index], upper[index]), out=found[index])
        ctx.save_for_backward(v, lower, upper)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401 - torch's type
        v, lower, upper = ctx.saved_tensors
        by_v, by_lower, by_upper = (torch.empty_like(v) for _ in range(3))
        for index in chunks(v):
            here, back = v[index], grad[index]
            torch.mul(back, _slope(here, lower[index], upper[index]), out=by_v[index])
            torch.mul(back, here.clamp(min=0), out=by_lower[index])
            torch.mul(back, here.clamp(max=0), out=by_upper[index])
        return by_v, by_lower, by_upper


def _slope(v: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    return select(upper, lower, above(v, 0.0))
