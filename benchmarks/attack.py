"""An attack in the Euclidean norm: what it breaks, no certificate may claim."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WITHIN = 1 - 1e-6  # of the radius, so that float32 does not round a step to outside


def attacked(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    radius: float,
    generator: torch.Generator,
    steps: int = 200,
    step: float = 0.01,
    starts: int = 2,
) -> Tensor:
    """Inputs no farther than `radius` from x, of another class than y where one was found: [n, ..].

    Projected gradient descent of the margin of y, from x and then from random places in the ball. The steps
    have a length of their own, and are not held within the range of pixels: nor are certificates. The margin
    has a slope also where the model is so sure that float32 has none left for the cross-entropy.

    Args:
        model: with logits as its output.
        x: [n, ..].
        y: int64 [n].
        radius: of the ball around each input.
        generator: of the random starts.
        steps, step: their number from each start, and their length.
        starts: how many there are.
    """
    found = x.clone()
    for number in range(starts):
        rows = (margins(model, found, y).detach() > 0).nonzero()[:, 0]
        moved = torch.randn(x[rows].shape, generator=generator) * min(number, 1)
        moved = _projected(moved, radius / x[0].numel() ** 0.5, radius)
        for _ in range(steps):
            at = (x[rows] + moved).requires_grad_()
            margin = margins(model, at, y[rows])
            (slope,) = torch.autograd.grad(margin.sum(), at)
            found[rows] = at.detach()
            left = margin.detach() > 0
            rows, moved, slope = rows[left], moved[left], slope[left]
            moved = _projected(moved - step * slope / _lengths(slope), 1.0, radius)
        found[rows] = x[rows] + moved
    return found


def margins(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """By how much the logit of y exceeds all others: [n], positive where y is what is predicted."""
    logits = model(x)
    others = logits.scatter(1, y[:, None], -torch.inf)
    margin: Tensor = logits.gather(1, y[:, None])[:, 0] - others.amax(1)
    return margin


def _projected(moved: Tensor, scale: float, radius: float) -> Tensor:
    moved = moved * scale
    return moved * (WITHIN * radius / _lengths(moved)).clamp_max(1.0)


def _lengths(moved: Tensor) -> Tensor:
    lengths = moved.flatten(1).norm(dim=1).clamp_min(1e-12)
    return lengths.view(-1, *(1 for _ in moved.shape[1:]))
