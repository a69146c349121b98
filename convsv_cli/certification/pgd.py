"""An attack in the Euclidean norm: what it breaks, no certificate may claim.

Projected gradient descent (Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR
2018). What it breaks bounds the robust accuracy from above; what it does not break proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Net = Callable[[Tensor], Tensor]
WITHIN = 1 - 1e-6
"""Of the radius, so that float32 does not round a step to outside."""


def attacked(
    net: Net,
    x: Tensor,
    y: Tensor,
    *,
    radius: float,
    generator: torch.Generator,
    steps: int = 50,
    step: float | None = None,
    starts: int = 2,
    allowed: Net = lambda inputs: inputs,
) -> Tensor:
    """Inputs no farther than `radius` from x, of another class than y where one was found: [n, ..].

    Steps along the slope of the margin of y, from x and then from random places in the ball. The margin has a
    slope also where the model is so sure that float32 has none left for the cross-entropy.

    Args:
        net: from inputs [n, ..] to logits [n, classes].
        x: [n, ..].
        y: int64 [n].
        radius: of the ball around each input.
        generator: of the random starts.
        steps: their number from each start.
        step: their length; None for half the radius at first, and ever less.
        starts: how many there are.
        allowed: puts inputs back to where they may be, not farther from x; anywhere is allowed without it.
    """
    found = x.clone()
    for number in range(starts):
        rows = (margins(net, found, y).detach() > 0).nonzero()[:, 0]
        moved = torch.randn(x[rows].shape, generator=generator, dtype=x.dtype) * min(number, 1)
        moved = _projected(moved * (radius / max(1, x[0].numel()) ** 0.5), radius)
        for count in range(steps):
            if not len(rows):
                return found
            at = allowed(x[rows] + moved).detach().requires_grad_()
            margin = margins(net, at, y[rows])
            (slope,) = torch.autograd.grad(margin.sum(), at)
            found[rows] = at.detach()
            left = margin.detach() > 0
            rows, at, slope = rows[left], at.detach()[left], slope[left]
            length = radius * (1 - count / steps) / 2 if step is None else step
            moved = _projected(at - length * slope / _lengths(slope) - x[rows], radius)
        found[rows] = allowed(x[rows] + moved)
    return found


def margins(net: Net, x: Tensor, y: Tensor) -> Tensor:
    """By how much the logit of y exceeds all others: [n], positive where y is what is predicted."""
    logits = net(x)
    others = logits.scatter(1, y[:, None], -torch.inf)
    margin: Tensor = logits.gather(1, y[:, None])[:, 0] - others.amax(1)
    return margin


def _projected(moved: Tensor, radius: float) -> Tensor:
    inside: Tensor = moved * (WITHIN * radius / _lengths(moved)).clamp_max(1.0)
    return inside


def _lengths(moved: Tensor) -> Tensor:
    lengths: Tensor = moved.flatten(1).norm(dim=1).clamp_min(1e-12)
    return lengths.view(-1, *(1 for _ in moved.shape[1:]))
