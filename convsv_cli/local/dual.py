"""The minimum over an activation's box and ball: what backward linear bounds pay at it.

With the multiplier lambda of the ball, the minimum is one problem per element: a parabola over each piece of
the activation, clamped to where that piece and the box meet.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from convsv_cli.local.pieces import Coefficient
from convsv_cli.local.region import Region, Side, chunks, is_number, times

LEAST = 1e-30
"""A multiplier that stands for 0, so that nothing is divided by 0."""


def minimum(v: torch.Tensor, g: torch.Tensor, lam: torch.Tensor, region: Region) -> torch.Tensor:
    """sum_i min over l_i <= t <= u_i of v_i phi(t) - g_i t + lam/2 ((t - centre_i) / scale_i)^2, rounded.

    phi is the lower function where v > 0, and the upper one elsewhere. Differentiable once in v, g and lam,
    at the minimiser (envelope theorem), which with v is all that is kept for it. To search with: `lam` counts
    as `LEAST` if it is less, and what proves something is `below.minimum_below`. Where nothing bounds the
    minimum, it is -inf, and has no gradient.

    Args:
        v, g: [batch, rows, *shape], finite.
        lam: [batch, rows], at least 0.
        region: box, centre, scale and activation, of tensors of the same type.

    Returns:
        [batch, rows].
    """
    flat_v, flat_g = v.flatten(2), g.flatten(2)
    value: torch.Tensor = _Minimum.apply(flat_v, flat_g, lam, region)  # type: ignore[no-untyped-call]
    if bool((lam == 0).any()):
        value = value.masked_fill((lam == 0) & _unbounded(flat_v, flat_g, region), -math.inf)
    return value


class _Minimum(torch.autograd.Function):
    """`minimum` of flattened elements; v and the minimisers are kept, one chunk after another is computed."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> torch.Tensor:  # noqa: ANN401 - torch's type
        v, g, lam, region = inputs
        value = torch.bmm(g, region.centre.transpose(1, 2))[..., 0].neg_()
        at = torch.empty_like(v)
        for samples, rows, elements in chunks(v):
            index = (samples, rows, elements)
            gain = _gain(
                v[index], g[index], lam[samples, rows, None], region.part(samples, elements), at[index]
            )
            value[samples, rows] -= gain.sum(2)
        ctx.save_for_backward(v, at)
        ctx.region = region
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        v, at = ctx.saved_tensors
        by_v, by_g, by_lam = torch.empty_like(v), torch.empty_like(v), torch.zeros_like(grad)
        for samples, rows, elements in chunks(v):
            index = (samples, rows, elements)
            weight, here = grad[samples, rows, None], ctx.region.part(samples, elements)
            d = at[index]
            t = times(d, here.scale) + here.centre
            torch.mul(_phi(v[index], t, here.sides), weight, out=by_v[index])
            torch.mul(t, -weight, out=by_g[index])
            by_lam[samples, rows] += torch.linalg.vector_norm(d, dim=2).square_()
        return by_v, by_g, by_lam.mul_(grad / 2), None


def _gain(
    v: torch.Tensor, g: torch.Tensor, lam: torch.Tensor, region: Region, at: torch.Tensor
) -> torch.Tensor:
    """Minus the minimum, less g times the centre; writes (t - centre) / scale of the minimiser to `at`."""
    half = lam.clamp(min=LEAST) / 2
    below, *above = (_over(side, v, g, half, region) for side in region.sides)
    if not above:
        at.copy_(below[1])
        return below[0]
    ((gain, d),) = above
    at.copy_(torch.where(v > 0, below[1], d))
    return torch.where(v > 0, below[0], gain)


def _over(
    side: Side, v: torch.Tensor, g: torch.Tensor, half: torch.Tensor, region: Region
) -> tuple[torch.Tensor, torch.Tensor]:
    """`_gain` and its minimisers, with one function for both signs of v."""
    pieces = (_on_piece(side, k, ends, v, g, half, region) for k, ends in enumerate(side.ends(region)))
    gain, d = next(pieces)
    for other, at in pieces:
        d = torch.where(other > gain, at, d)
        gain = torch.maximum(other, gain)
    return gain, d


def _on_piece(  # noqa: PLR0917 - of one call
    side: Side,
    k: int,
    ends: tuple[torch.Tensor, torch.Tensor],
    v: torch.Tensor,
    g: torch.Tensor,
    half: torch.Tensor,
    region: Region,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same over piece k.

    With t = centre + scale d, the objective is v line(centre) - g centre - (w - half d) d, where w is
    scale (g - slope v). A piece that the box does not meet is at infinity, where half d^2 is infinite.
    """
    w = times(_without(g, side.slopes[k], v), region.scale)
    d = torch.clamp(w * (0.5 / half), *ends)
    gain = torch.addcmul(w, d, half, value=-1).mul_(d)
    level = side.line(k, region.centre)
    if not is_number(level, 0.0):
        gain = torch.addcmul(gain, v, torch.as_tensor(level, dtype=v.dtype), value=-1)
    return gain, d


def _without(g: torch.Tensor, slope: Coefficient, v: torch.Tensor) -> torch.Tensor:
    """G - slope v."""
    if isinstance(slope, torch.Tensor):
        return torch.addcmul(g, v, slope, value=-1)
    return g if slope == 0 else torch.sub(g, v, alpha=slope)


def _phi(v: torch.Tensor, t: torch.Tensor, sides: tuple[Side, ...]) -> torch.Tensor:
    """The function that counts, by the sign of v, at t."""
    below, *above = (side.at(t) for side in sides)
    return torch.where(v > 0, below, above[0]) if above else below


def _unbounded(v: torch.Tensor, g: torch.Tensor, region: Region) -> torch.Tensor:
    """[batch, rows]: whether the objective without its parabola falls forever where a box has no end."""
    falls = torch.zeros(v.shape[:2], dtype=torch.bool, device=v.device)
    for end, last, sign in ((region.lower, 0, 1), (region.upper, -1, -1)):
        if bool(end.isinf().any()):
            outer = [_without(g, side.slopes[last], v) for side in region.sides]
            w = torch.where(v > 0, outer[0], outer[-1])
            falls |= ((sign * w < 0) & end.isinf()).any(2)
    return falls
