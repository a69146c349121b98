"""Inputs of another class, by projected gradient descent (Madry et al., ICLR 2018), in the Euclidean norm.

What an attack finds bounds the robust accuracy from above; what it does not find proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

Net = Callable[[torch.Tensor], torch.Tensor]
INSIDE = 1 - 1e-5
"""Of the radius, so that rounding leaves nothing outside of it."""


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """Steps along the gradient of the largest other logit less the true one, back into the ball after each.

    Attributes:
        steps: of each start; the first ones are long, the last ones short.
        restarts: the first from the input itself, all others from random points.
        seed: the same one finds the same.
    """

    steps: int = 50
    restarts: int = 2
    seed: int = 0

    def nearest_class(
        self,
        net: Net,
        x: torch.Tensor,
        y: torch.Tensor,
        radius: float,
        *,
        within: Callable[[torch.Tensor], torch.Tensor] = lambda inputs: inputs,
    ) -> torch.Tensor:
        """For each input, where within `radius` another class is the most ahead: [n, ..].

        Args:
            net: from inputs [n, ..] to logits [n, classes].
            x: inputs [n, ..].
            y: classes, int64 [n].
            radius: of the ball.
            within: puts inputs back to where they are allowed to be, and no farther from `x`.
        """
        generator = torch.Generator().manual_seed(self.seed)
        best, ahead = x.clone(), torch.full((len(x),), -math.inf)
        for restart in range(self.restarts):
            left = (ahead <= 0).nonzero()[:, 0]
            if not len(left):
                break
            start = x[left]
            if restart:
                noise = torch.randn(start.shape, generator=generator)
                start = within(start + radius * INSIDE * _unit(noise))
            end, reached = self._descent(_Ball(net, x[left], y[left], radius * INSIDE, within), start)
            better = reached > ahead[left]
            best[left[better]], ahead[left[better]] = end[better], reached[better]
        return best

    def _descent(
        self,
        ball: _Ball,
        start: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One start: the best point on the way, and by how much another class is ahead there."""
        point, x = start.clone(), ball.x
        best, ahead = x.clone(), torch.full((len(x),), -math.inf)
        active = torch.arange(len(x))
        for step in range(self.steps + 1):
            here, gradient = _lead(ball.net, point[active], ball.y[active])
            better = here > ahead[active]
            best[active[better]], ahead[active[better]] = point[active[better]], here[better]
            open_ = here <= 0
            active, gradient = active[open_], gradient[open_]
            if not len(active):
                break
            length = ball.radius * (1 - step / (self.steps + 1)) / 2
            point[active] = ball.projected(point[active] + length * _unit(gradient), active)
        return best, ahead


@dataclass(frozen=True, eq=False)
class _Ball:
    """Where to look: around inputs x of classes y, and within what is allowed."""

    net: Net
    x: torch.Tensor
    y: torch.Tensor
    radius: float
    within: Callable[[torch.Tensor], torch.Tensor]

    def projected(self, points: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Points back into the balls of these rows."""
        moved = points - self.x[rows]
        return self.within(self.x[rows] + moved * (self.radius / _lengths(moved)).clamp_max(1.0))


def _lead(net: Net, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest other logit less that of y, and its gradient."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = net(x)
        own = logits.gather(1, y[:, None])[:, 0]
        lead = logits.scatter(1, y[:, None], -math.inf).amax(1) - own
        (gradient,) = torch.autograd.grad(lead.sum(), x)
    return lead.detach(), gradient


def _lengths(difference: torch.Tensor) -> torch.Tensor:
    lengths: torch.Tensor = difference.flatten(1).norm(dim=1).clamp_min(1e-30)
    return lengths.view(-1, *(1 for _ in difference.shape[1:]))


def _unit(difference: torch.Tensor) -> torch.Tensor:
    return difference / _lengths(difference)
