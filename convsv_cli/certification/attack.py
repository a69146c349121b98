"""Whether samples that are right can be attacked: robust accuracy from above, beside what is certified.

Gradients are torch's, of convsv's own reading of the graph; what counts is what the network itself says of
the inputs that are found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from convsv_cli.certification.classifier import Classifier
from convsv_cli.certification.normalization import Normalization
from convsv_cli.certification.pgd import Net, pgd
from convsv_cli.certification.run import agree, in_torch
from convsv_cli.differentiable import Function, UndifferentiableError
from convsv_cli.report import Attack
from convsv_cli.spectral.cores import parallel_map

CHUNK = 32
STEPS, RESTARTS = 50, 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """What is attacked.

    Attributes:
        classifier: the network.
        run: its own logits at inputs [n, *shape]: float64 [n, classes].
        normalization: before it; balls are round in what comes before that.
        box: what its inputs have to stay in; None for anything.
    """

    classifier: Classifier
    run: Callable[[torch.Tensor], torch.Tensor]
    normalization: Normalization
    box: tuple[float, float] | None

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
        progress: told the share that is done.
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
            told = partial(_told, progress, number, len(eps))
            wrong = _broken(target, x[left], y[left], radius, told)
            broken[left[wrong]] = radius
    return broken, Attack(steps=STEPS, restarts=RESTARTS, seconds=time.perf_counter() - start)


def _told(progress: Callable[[float], None], number: int, of: int, share: float) -> None:
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
    done: list[int] = []

    def some(first: int) -> torch.Tensor:
        rows = slice(first, first + count)
        found = pgd(
            target.net,
            start[rows],
            y[rows],
            radius=radius,
            generator=torch.Generator().manual_seed(first),
            steps=STEPS,
            restarts=RESTARTS,
            allowed=target.put_back,
        )
        done.append(first)
        progress(min(1.0, len(done) * count / len(x)))
        return found

    shifts = torch.cat(parallel_map(some, range(0, len(x), count))) - start
    wrong = target.run(x + (shifts * target.scales).to(x.dtype)).argmax(1) != y
    inside: torch.Tensor = shifts.double().flatten(1).norm(dim=1) <= radius
    return wrong & inside
