"""Attacks on samples that are classified correctly: robust accuracy from above, next to what is certified.

Gradients are torch's, of convsv's own reading of the graph; what counts is what the network itself says of
the inputs that are found. What an attack breaks bounds the robust accuracy from above; what it does not break
proves nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from convsv_cli.certification.classifier import Classifier
from convsv_cli.certification.run import agree, in_torch
from convsv_cli.certification.samples import Normalization
from convsv_cli.differentiable import Function, UndifferentiableError
from convsv_cli.report import EUCLIDEAN, MAXIMUM, Attack
from convsv_cli.spectral.cores import parallel_map

CHUNK = 32
STEPS, RESTARTS = 50, 2
WITHIN = 1 - 1e-6
"""Of the radius, so that float32 does not round a step to outside."""
Net = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """What is attacked.

    Attributes:
        classifier: the network.
        run: its own logits at inputs [n, *shape]: float64 [n, classes].
        normalization: before it; distances are those of what comes before that.
        box: what its inputs have to stay in; None for anything.
        norm: of distances before the normalization, one of `NORMS`.
    """

    classifier: Classifier
    run: Callable[[torch.Tensor], torch.Tensor]
    normalization: Normalization
    box: tuple[float, float] | None
    norm: str = EUCLIDEAN

    @cached_property
    def function(self) -> Function:
        """Its logits with gradients.

        Raises:
            UndifferentiableError: there are none.
        """
        return in_torch(self.classifier)

    @property
    def net(self) -> Net:
        """The same, as a function of inputs as they are before the normalization."""
        return lambda z: self.function(z * self.scales)

    @cached_property
    def scales(self) -> torch.Tensor:
        """[channels, 1 ..]: what the normalization multiplies each channel by."""
        shape = self.classifier.shape
        scales = self.normalization.scales(shape[0]).astype(np.float32).copy()
        return torch.from_numpy(scales).view(-1, *(1 for _ in shape[1:]))

    def put_back(self, z: torch.Tensor) -> torch.Tensor:
        """Inputs, as they are before the normalization, put back into the box."""
        return z if self.box is None else (z * self.scales).clamp(*self.box) / self.scales


def smallest_broken_radii(
    target: Target,
    x: torch.Tensor,
    y: torch.Tensor,
    eps: tuple[float, ...],
    progress: Callable[[float], None],
) -> tuple[torch.Tensor, Attack]:
    """The smallest of the radii, ascending, at which each input was broken: float64 [n]; infinite for none.

    Args:
        target: the network.
        x: inputs [n, *shape], as it takes them.
        y: their classes, which it gets right.
        eps: radii, before the normalization.
        progress: called with the share that is done.
    """
    start = time.perf_counter()
    broken = torch.full((len(x),), math.inf, dtype=torch.float64)
    try:
        if len(x):
            _check(target, x[: target.function.at_once(CHUNK)])
    except UndifferentiableError as error:
        return broken, Attack(failure=str(error))
    for number, radius in enumerate(eps):
        left = broken.isinf().nonzero()[:, 0]
        if len(left):
            report = partial(_report, progress, number, len(eps))
            wrong = _broken(target, x[left], y[left], radius, report)
            broken[left[wrong]] = radius
    return broken, Attack(steps=STEPS, restarts=RESTARTS, seconds=time.perf_counter() - start)


def _report(progress: Callable[[float], None], number: int, of: int, share: float) -> None:
    progress((number + share) / of)


def _check(target: Target, x: torch.Tensor) -> None:
    """See that the gradients are those of the network."""
    if not agree(target.net((x / target.scales).float()).double(), target.run(x)):
        raise UndifferentiableError("convsv's gradients are not those of the network as it runs")


def _broken(
    target: Target, x: torch.Tensor, y: torch.Tensor, radius: float, progress: Callable[[float], None]
) -> torch.Tensor:
    """Which of some inputs the network itself gets wrong somewhere within the radius: bool [n]."""
    start, count = (x / target.scales).float(), target.function.at_once(CHUNK)

    def some(first: int) -> torch.Tensor:
        rows = slice(first, first + count)
        return pgd(
            target.net,
            start[rows],
            y[rows],
            radius=radius,
            generator=torch.Generator().manual_seed(first),
            steps=STEPS,
            restarts=RESTARTS,
            allowed=target.put_back,
            norm=target.norm,
        )

    shifts = torch.cat(parallel_map(some, range(0, len(x), count), progress)) - start
    wrong = target.run(x + (shifts * target.scales).to(x.dtype)).argmax(1) != y
    inside = _lengths(shifts.double(), target.norm).flatten() <= radius
    return wrong & inside


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
    norm: str = EUCLIDEAN,
) -> Tensor:
    """Inputs no farther than `radius` from x, of another class than y where one was found: [n, ..].

    Projected gradient descent (Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks,
    ICLR 2018): steps along the gradient of the margin of y (along its signs in the maximum norm), from x and
    then from random places in the ball. The margin has one even where the model is so sure that float32
    leaves none of the cross-entropy's.

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
        norm: of distances, one of `NORMS`.
    """
    found = x.clone()
    for number in range(restarts):
        rows = (margins(net, found, y).detach() > 0).nonzero()[:, 0]
        shift = torch.randn(x[rows].shape, generator=generator, dtype=x.dtype) * min(number, 1)
        shift = _projected(shift * (radius / max(1, x[0].numel()) ** (1 / float(norm))), radius, norm)
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
            shift = _projected(at + length * _downwards(gradient, norm) - x[rows], radius, norm)
        found[rows] = allowed(x[rows] + shift)
    return found


def margins(net: Net, x: Tensor, y: Tensor) -> Tensor:
    """By how much the logit of y exceeds all others: [n], positive where y is what is predicted."""
    logits = net(x)
    others = logits.scatter(1, y[:, None], -torch.inf)
    margin: Tensor = logits.gather(1, y[:, None])[:, 0] - others.amax(1)
    return margin


def _projected(shift: Tensor, radius: float, norm: str) -> Tensor:
    if norm == MAXIMUM:
        return shift.clamp(-WITHIN * radius, WITHIN * radius)
    inside: Tensor = shift * (WITHIN * radius / _lengths(shift, norm)).clamp_max(1.0)
    return inside


def _downwards(gradient: Tensor, norm: str) -> Tensor:
    """The steepest descent among shifts of length 1."""
    return -gradient.sign() if norm == MAXIMUM else -gradient / _lengths(gradient, norm)


def _lengths(shift: Tensor, norm: str) -> Tensor:
    lengths: Tensor = shift.flatten(1).norm(p=float(norm), dim=1).clamp_min(1e-12)
    return lengths.view(-1, *(1 for _ in shift.shape[1:]))
