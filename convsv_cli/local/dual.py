"""The minimum over an activation's box and ball: what backward linear bounds pay at it.

With the multiplier lambda of the ball, the minimum is one problem per element: a parabola over each piece of
the activation, clamped to where that piece and the box meet.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from convsv_cli.local.pieces import Coefficient
from convsv_cli.local.region import Piece, Region, above, chunks, is_number, select, times

LEAST = 1e-30
"""A multiplier that stands for 0, so that nothing is divided by 0."""


def minimum(v: torch.Tensor, g: torch.Tensor, lam: torch.Tensor, region: Region) -> torch.Tensor:
    """sum_i min over l_i <= t <= u_i of v_i phi(t) - g_i t + lam/2 ((t - centre_i) / scale_i)^2, rounded.

    phi is the lower function where v > 0, and the upper one elsewhere. Differentiable once in v, g and lam,
    at the minimiser (envelope theorem), which with v is all that is kept for it. To search with: `lam` counts
    as `LEAST` if it is less, and what proves something is `certificate.minimum_below`. Where nothing bounds
    the minimum, it is -inf, and has no gradient.

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
            torch.mul(_phi(v[index], t, here), weight, out=by_v[index])
            torch.mul(t, -weight, out=by_g[index])
            by_lam[samples, rows] += torch.linalg.vector_norm(d, dim=2).square_()
        return by_v, by_g, by_lam.mul_(grad / 2), None


def _gain(
    v: torch.Tensor, g: torch.Tensor, lam: torch.Tensor, region: Region, at: torch.Tensor
) -> torch.Tensor:
    """Minus the minimum, less g times the centre; writes (t - centre) / scale of the minimiser to `at`."""
    half = lam.clamp(min=LEAST) / 2
    gain, d = _over(region.sides[-1], v, g, half, region)
    if len(region.sides) == 2:
        lower, positive = _over(region.sides[0], v, g, half, region), above(v, 0.0)
        gain, d = select(gain, lower[0], positive), select(d, lower[1], positive)
    at.copy_(d)
    return gain


def _over(
    pieces: tuple[Piece, ...], v: torch.Tensor, g: torch.Tensor, half: torch.Tensor, region: Region
) -> tuple[torch.Tensor, torch.Tensor]:
    """`_gain` and its minimisers, with one function for both signs of v."""
    first, *others = pieces
    gain, d = _on_piece(first, v, g, half, region)
    for piece in others:
        other, at = _on_piece(piece, v, g, half, region)
        d = select(d, at, above(other, gain))
        gain = torch.maximum(other, gain)
    return gain, d


def _on_piece(
    piece: Piece, v: torch.Tensor, g: torch.Tensor, half: torch.Tensor, region: Region
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same with one line: it gains nothing where it does not count.

    With t = centre + scale d, the objective is v line(centre) - g centre - (w - half d) d, where w is
    scale (g - slope v).
    """
    w = times(_without(g, piece.slope, v), region.scale)
    d = torch.clamp(w * (0.5 / half), piece.start, piece.stop)
    gain = torch.addcmul(w, d, half, value=-1).mul_(d).add_(piece.absent)
    level = piece.at(region.centre)
    if not is_number(level, 0.0):
        gain.addcmul_(v, torch.as_tensor(level, dtype=v.dtype), value=-1)
    return gain, d


def _without(g: torch.Tensor, slope: Coefficient, v: torch.Tensor) -> torch.Tensor:
    """G - slope v."""
    if isinstance(slope, torch.Tensor):
        return torch.addcmul(g, v, slope, value=-1)
    return g if slope == 0 else torch.sub(g, v, alpha=slope)


def _phi(v: torch.Tensor, t: torch.Tensor, region: Region) -> torch.Tensor:
    """The function that counts, by the sign of v, at t."""
    value, *others = (_at(side, t) for side in region.sides[::-1])
    return select(value, others[0], above(v, 0.0)) if others else value


def _at(pieces: tuple[Piece, ...], t: torch.Tensor) -> torch.Tensor:
    """The function at t."""
    value, *others = (torch.as_tensor(piece.at(t), dtype=t.dtype).expand_as(t) for piece in pieces)
    for piece, other in zip(pieces[1:], others, strict=True):
        value = select(value, other, above(t, piece.knot))
    return value


def _unbounded(v: torch.Tensor, g: torch.Tensor, region: Region) -> torch.Tensor:
    """[batch, rows]: whether the objective without its parabola falls forever where a box has no end."""
    falls = torch.zeros(v.shape[:2], dtype=torch.bool, device=v.device)
    for end, outer, sign in ((region.lower, 0, 1), (region.upper, -1, -1)):
        if bool(end.isinf().any()):
            slopes = [_without(g, pieces[outer].slope, v) for pieces in region.sides]
            w = torch.where(v > 0, slopes[0], slopes[-1])
            falls |= ((sign * w < 0) & end.isinf()).any(2)
    return falls
