"""Projected gradient descent in the Euclidean norm: what it breaks, no certificate may claim.

As Madry et al. have it (Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018). What it
breaks bounds the robust accuracy from above; what it does not break proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Net = Callable[[Tensor], Tensor]
WITHIN = 1 - 1e-6
"""Of the radius, so that float32 does not round a step to outside."""


def pgd(
    net: Net,
    x: Tensor,
    y: Tensor,
    *,
    radius: float,
    generator: torch.Generator,
    steps: int = 50,
    step: float | None = None,
    restarts: int = 2,
    allowed: Net = lambda inputs: inputs,
) -> Tensor:
    """Inputs no farther than `radius` from x, of another class than y where one was found: [n, ..].

    Steps along the gradient of the margin of y, from x and then from random places in the ball. The margin
    has one even where the model is so sure that float32 leaves none of the cross-entropy's.

    Args:
        net: from inputs [n, ..] to logits [n, classes].
        x: [n, ..].
        y: int64 [n].
        radius: of the ball around each input.
        generator: of the random starts.
        steps: their number from each start.
        step: their length; None for half the radius at first, and ever less.
        restarts: how many there are.
        allowed: puts inputs back to where they may be, not farther from x; anywhere is allowed without it.
    """
    found = x.clone()
    for number in range(restarts):
        rows = (margins(net, found, y).detach() > 0).nonzero()[:, 0]
        shift = torch.randn(x[rows].shape, generator=generator, dtype=x.dtype) * min(number, 1)
        shift = _projected(shift * (radius / max(1, x[0].numel()) ** 0.5), radius)
        for count in range(steps):
            if not len(rows):
                return found
            at = allowed(x[rows] + shift).detach().requires_grad_()
            margin = margins(net, at, y[rows])
            (gradient,) = torch.autograd.grad(margin.sum(), at)
            found[rows] = at.detach()
            left = margin.detach() > 0
            rows, at, gradient = rows[left], at.detach()[left], gradient[left]
            length = radius * (1 - count / steps) / 2 if step is None else step
            shift = _projected(at - length * gradient / _lengths(gradient) - x[rows], radius)
        found[rows] = allowed(x[rows] + shift)
    return found


def margins(net: Net, x: Tensor, y: Tensor) -> Tensor:
    """By how much the logit of y exceeds all others: [n], positive where y is what is predicted."""
    logits = net(x)
    others = logits.scatter(1, y[:, None], -torch.inf)
    margin: Tensor = logits.gather(1, y[:, None])[:, 0] - others.amax(1)
    return margin


def _projected(shift: Tensor, radius: float) -> Tensor:
    inside: Tensor = shift * (WITHIN * radius / _lengths(shift)).clamp_max(1.0)
    return inside


def _lengths(shift: Tensor) -> Tensor:
    lengths: Tensor = shift.flatten(1).norm(dim=1).clamp_min(1e-12)
    return lengths.view(-1, *(1 for _ in shift.shape[1:]))
