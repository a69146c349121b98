"""The minimum over an activation's box and ball, as a number that is proven to be below it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from convsv_cli.local.pieces import Coefficient
from convsv_cli.local.region import Piece, Region, chunks, is_number
from convsv_cli.numerics.intervals import TINY
from convsv_cli.numerics.rounding import UNIT_ROUNDOFF, UP_MANY, gamma

NORMAL = 1e-290
"""What is larger has not lost digits to underflow."""


@torch.no_grad()
def minimum_below(v: Tensor, g: Tensor, lam: Tensor, region: Region) -> Tensor:
    """Below what `dual.minimum` rounds, in real arithmetic; with `lam` as it is.

    Each element is bounded as `_on_piece` proves. A sum of n numbers in any order is off by at most
    gamma_(n-1) times that of their absolute values (Higham, section 4.2); what is left of gamma_(n+8) covers
    that this sum is rounded too, and the last subtraction.

    Args:
        v, g: float64 [batch, rows, *shape], exact; what is not finite gives -inf.
        lam: float64 [batch, rows], at least 0, exact.
        region: of float64 tensors, exact, with scales between 1e-100 and 1e100.

    Returns:
        float64 [batch, rows]; -inf where nothing is proven.
    """
    flat_v, flat_g = v.flatten(2), g.flatten(2)
    total, size = torch.zeros_like(lam), torch.zeros_like(lam)
    for samples, rows, elements in chunks(flat_v):
        index, here = (samples, rows, elements), region.part(samples, elements)
        least = _least(flat_v[index], flat_g[index], lam[samples, rows, None], here)
        total[samples, rows] += least.sum(2)
        size[samples, rows] += least.abs().sum(2)
    below = total - size * gamma(flat_v.shape[2] + 8)
    return below.nan_to_num(nan=-math.inf, posinf=-math.inf, neginf=-math.inf)


def _least(v: Tensor, g: Tensor, lam: Tensor, region: Region) -> Tensor:
    """Below the minimum of each element; [batch, rows, elements] like v."""
    below, *above = (_over(pieces, v, g, lam, region) for pieces in region.sides)
    return torch.where(v > 0, below, above[0]) if above else below


def _over(pieces: tuple[Piece, ...], v: Tensor, g: Tensor, lam: Tensor, region: Region) -> Tensor:
    """With one function for both signs of v."""
    least = torch.full_like(v, math.inf)
    stops = (*(piece.knot for piece in pieces[1:]), math.inf)
    for piece, stop in zip(pieces, stops, strict=True):
        first, last = region.lower.clamp(min=piece.knot), region.upper.clamp(max=stop)
        found = _on_piece(piece, (first, last), v, g, lam, region).nan_to_num_(nan=-math.inf)
        least = torch.minimum(least, found.masked_fill_(first > last, math.inf))
    return least


def _on_piece(  # noqa: PLR0917 - those of its caller
    piece: Piece, ends: tuple[Tensor, Tensor], v: Tensor, g: Tensor, lam: Tensor, region: Region
) -> Tensor:
    """Below F(t) = v intercept - w t + e/2 (t - centre)^2 between the ends; w = g - slope v, e = lam/scale^2.

    *Proof.* F is convex, so for any t of the piece and D = F'(t) = e (t - centre) - w, at any other s of it,
    F(s) >= F(t) + D (s - t) + e/2 (s - t)^2. To the right of t, F falls by at most q (last - t) and by at
    most q^2 / (2 e), for any q >= max(-D, 0); to the left likewise. So t need not be the minimiser, and the
    one that is computed loses next to nothing. What is rounded: w is off by at most `doubt`; e by gamma_3; D
    by `doubt` and gamma_8 (|e (t - centre)| + |w|); F(t) by gamma_16 times the absolute values of its terms,
    and `doubt` |t|. What underflows is less than TINY. The ends are floats, as t is: no rounding.
    """
    w, doubt = _linear(piece, v, g)
    e = lam if is_number(region.scale, 1.0) else lam / (region.scale * region.scale)
    t = torch.where(w == 0, region.centre, region.centre + w / e).clamp(*ends)
    offset = t - region.centre
    curved = (e * offset).mul_(offset).mul_(0.5)
    level = v * piece.intercept
    value = level - w * t + curved
    lost = gamma(16) * (level.abs() + (w * t).abs() + curved) + doubt * t.abs() + TINY
    lost += (lam > 0) * TINY * (1 + offset * offset)
    slope = e * offset - w
    unsure = doubt + gamma(8) * ((e * offset).abs() + w.abs()) + (lam > 0) * TINY * (1 + offset.abs())
    lost += torch.maximum(
        _fall(unsure - slope, ends[1] - t, e),
        _fall(unsure + slope, t - ends[0], e),
    )
    return value - lost * UP_MANY


def _linear(piece: Piece, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """G - slope v, and by how much it is off: products with 0 and 1 are exact."""
    product = v * piece.slope
    w = g - product
    doubt = w.abs() * UNIT_ROUNDOFF
    if not _exact(piece.slope):
        doubt += product.abs() * gamma(2) + TINY
    return w, doubt


def _exact(slope: Coefficient) -> bool:
    return not isinstance(slope, Tensor) and abs(slope) in {0.0, 1.0}


def _fall(steepness: Tensor, room: Tensor, e: Tensor) -> Tensor:
    """How far a parabola that falls with this slope at first can fall within that distance, at most.

    Args:
        steepness: not positive where it rises. [batch, rows, elements].
        room: at least 0, maybe infinite. [batch, 1 or rows, elements].
        e: its second derivative. [batch, rows, 1 or elements].
    """
    q = steepness.clamp(min=0)
    curved = torch.where(e > NORMAL, q * q / (2 * e), math.inf)
    fall = torch.minimum(q * room, curved * UP_MANY)
    return fall.masked_fill_((q == 0) | (room == 0), 0.0)
