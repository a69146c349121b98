r"""The dual problem of the nearest input of another class (Singla & Feizi, arXiv 2006.00731).

With f = z_y - z_t, whose Hessian lies between -lower and upper, every point x with f(x) <= 0 is so far from
x0 that |x - x0|^2 / 2 >= d(eta) = min_x |x - x0|^2 / 2 + eta f(x), for every eta >= 0. For eta * lower < 1
the inner problem is strongly convex with 1 - eta * lower, so that any x proves d(eta) >= its value there
less |gradient|^2 / (2 (1 - eta * lower)). So every step of every inner problem gives a radius, and the
largest counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

STRICT = 0.999  # eta stays so far below 1 / lower
DECADES = 1e4  # to either side of the eta that would be right, were f linear
LARGEST = 1e100
SLACK = 1e-9  # of the logits at x0: taken off f for the rounding of float64, and much more than that
CHUNK = 2048


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How many eta are tried, and steps for each of them."""

    rounds: int
    steps: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Inputs with two classes each, and what is known of z_y - z_t.

    Attributes:
        start: x0, float64 [n, ..].
        y, t: int64 [n].
        lower, upper: minus a lower, and an upper bound of the Hessian's eigenvalues: float64 [n], >= 0.
        error: of z_y - z_t, absolute.
    """

    start: torch.Tensor
    y: torch.Tensor
    t: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    error: float = 0.0

    def __len__(self) -> int:
        return len(self.y)

    def part(self, rows: slice) -> Pairs:
        """Some of them."""
        start, y, t, lower, upper = (
            each[rows] for each in (self.start, self.y, self.t, self.lower, self.upper)
        )
        return replace(self, start=start, y=y, t=t, lower=lower, upper=upper)


def proven_radii(model: nn.Module, pairs: Pairs, effort: Effort) -> torch.Tensor:
    """Distances within which t does not overtake y: float64 [n], 0 where nothing is proven.

    Args:
        model: in float64.
        pairs: at least as far apart as `pairs.error`, or the radius is 0.
        effort: more never proves less, except for where it stops.
    """
    parts = [pairs.part(slice(i, i + CHUNK)) for i in range(0, len(pairs), CHUNK)]
    found = [_squares(model, part, effort).sqrt() * (1 - SLACK) for part in parts]
    return torch.cat(found) if found else pairs.lower


def _squares(model: nn.Module, pairs: Pairs, effort: Effort) -> torch.Tensor:
    shape = (-1, *(1 for _ in pairs.start.shape[1:]))
    error = pairs.error + SLACK * _values(model, pairs, pairs.start)[2]
    value, slope, _ = _values(model, pairs, pairs.start)
    linear = ((value - error).clamp_min(0.0) / _square(slope).clamp_min(1e-300)).clamp(1e-100, LARGEST)
    high = torch.minimum(STRICT / pairs.lower, linear * DECADES).clamp_max(LARGEST)
    low = torch.minimum(linear / DECADES, high)
    best, x = torch.zeros_like(value), pairs.start
    for _ in range(effort.rounds):
        eta = low.sqrt() * high.sqrt()
        for _ in range(effort.steps):
            value, slope, _ = _values(model, pairs, x)
            value = value - error
            moved = x - pairs.start
            gradient = moved + eta.view(shape) * slope
            unfinished = _square(gradient) / (1 - eta * pairs.lower)
            best = torch.fmax(best, _square(moved) + 2 * eta * value - unfinished)
            x = x - gradient / (1 + eta * pairs.upper).view(shape)
        low, high = torch.where(value > 0, eta, low), torch.where(value > 0, high, eta)
    return best


def _values(
    model: nn.Module, pairs: Pairs, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """z_y - z_t, its gradient, and |z_y| + |z_t|."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        here = logits.gather(1, pairs.y[:, None])[:, 0]
        there = logits.gather(1, pairs.t[:, None])[:, 0]
        (slope,) = torch.autograd.grad((here - there).sum(), x)
    return (here - there).detach(), slope, (here.abs() + there.abs()).detach()


def _square(vectors: torch.Tensor) -> torch.Tensor:
    return vectors.flatten(1).square().sum(1)
