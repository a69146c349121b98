"""Better multipliers by gradient descent, in single precision. Nothing here is a proof."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from convsv_cli import deadline
from convsv_cli.lipschitz.density.levels import stacked
from convsv_cli.lipschitz.density.multipliers import (
    GREEDY,
    LARGER,
    NEAR,
    SMALLER,
    Choose,
    Multiplier,
    least_factor,
    spread,
)
from convsv_cli.lipschitz.density.recursion import Recursion
from convsv_cli.lipschitz.density.sizes import InfeasibleError
from convsv_cli.numerics.adam import Adam

RATE, BETAS = 0.1, (0.8, 0.95)
LEAST_RATE = 0.02
WORTH, PATIENCE = 5e-4, 15  # steps that together gain less, in the logarithm, are the last ones
SOLID = 1.5  # the rate falls once a third of the steps is done

Multipliers = Mapping[int, Multiplier]
"""By the index of the step."""
Own = Callable[[int, torch.Tensor, float], Multiplier]
"""Gives the multiplier of a step: its index, V, and the factor f that f D > V is needed for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Multipliers, and the natural logarithm of the bound that they give in some recursion.

    Attributes:
        multipliers: by the index of the step.
        log: infinite where they give none.
        own: what they follow from, if from V alone.
    """

    multipliers: Multipliers
    log: float = math.inf
    own: Own | None = None

    def again(self) -> Own:
        """How to come by them elsewhere: as they are, unless they followed from V."""
        return self.own or (lambda index, _variance, _needed: self.multipliers[index])


def choosing(own: Own, noted: dict[int, Multiplier] | None = None) -> Choose:
    """How a recursion takes multipliers, and where it notes them."""

    def choose(index: int, variance: torch.Tensor, needed: float) -> torch.Tensor:
        multiplier = own(index, variance, needed)
        if noted is not None:
            noted[index] = multiplier
        return multiplier.of(variance, needed)

    return choose


def chosen(multipliers: Multipliers) -> Choose:
    """How a recursion takes these multipliers."""
    return choosing(lambda index, _variance, _needed: multipliers[index])


def greedy(recursion: Recursion, *, first: bool = False) -> Found:
    """Multipliers that need no search: the best of `GREEDY`, but for those that the first two speak against.

    Args:
        recursion: without a proof.
        first: only the first one is tried.
    """
    found = _guess(recursion, 0)
    if first:
        return found
    other = _guess(recursion, 1)
    further = SMALLER if found.log <= other.log < math.inf else LARGER
    return min(found, other, *(_guess(recursion, each) for each in further), key=lambda each: each.log)


def _guess(recursion: Recursion, index: int) -> Found:
    own = guessed(*GREEDY[index])
    return replace(valued(recursion, own), own=own)


def guessed(power: float, factor: float) -> Own:
    """Multipliers that follow from V: see `GREEDY`."""
    ratio, near = (torch.tensor(x, dtype=torch.float64) for x in (math.log(factor - 0.5), NEAR))
    return lambda _, variance, needed: Multiplier(
        shape=spread(variance, power), ratio=ratio if needed == 2 else near
    )


def valued(recursion: Recursion, own: Own) -> Found:
    """Multipliers as a recursion meets them, and what they give there."""
    noted: dict[int, Multiplier] = {}
    with torch.no_grad():
        try:
            log = float(objective(recursion, choosing(own, noted)))
        except InfeasibleError:
            log = math.inf
    return Found(multipliers=noted, log=log if math.isfinite(log) else math.inf)


def searched(
    recursion: Recursion, start: Found, steps: int, progress: Callable[[float], None] = lambda _share: None
) -> Found:
    """The best multipliers among those that Adam (Kingma & Ba 2015) comes by; the end of the run is its own.

    Args:
        recursion: without a proof.
        start: where to begin.
        steps: how many; the rate falls towards the last one.
        progress: called with the share of them that is done.
    """
    moving = movable(start.multipliers)
    if not moving:
        return start
    optimiser, best, gained = Adam(parameters(moving), BETAS), start, 0
    try:
        for step in range(steps):
            if deadline.ended():
                break
            value = objective(recursion, chosen(moving))
            value.backward()  # type: ignore[no-untyped-call]
            if float(value.detach()) < best.log - WORTH:
                gained = step
            if float(value.detach()) < best.log:
                best = Found(multipliers=_fixed(moving), log=float(value.detach()))
            optimiser.step(RATE * min(1.0, SOLID * (1 - step / steps) + LEAST_RATE))
            progress((step + 1) / steps)
            if step - gained >= PATIENCE:
                break
    except (InfeasibleError, RuntimeError):  # LAPACK's failures are of the last kind
        return best
    except KeyboardInterrupt:
        if not deadline.interrupt():
            raise
    return best


def movable(multipliers: Multipliers) -> Multipliers:
    """Copies that have gradients."""
    return {
        index: Multiplier(shape=own.shape.clone().requires_grad_(), ratio=own.ratio.clone().requires_grad_())
        for index, own in multipliers.items()
    }


def parameters(multipliers: Multipliers) -> list[torch.Tensor]:
    """All that they are made of."""
    return [each for own in multipliers.values() for each in (own.shape, own.ratio)]


def _fixed(moving: Multipliers) -> Multipliers:
    return {
        index: replace(own, shape=own.shape.detach().clone(), ratio=own.ratio.detach().clone())
        for index, own in moving.items()
    }


def objective(recursion: Recursion, choose: Choose) -> torch.Tensor:
    """The natural logarithm of the bound."""
    tops = [_log_top(stacked(each)) + math.log(each.scale) for each in recursion.run(choose)]
    return torch.stack(tops).max() / 2


def _log_top(matrices: torch.Tensor) -> torch.Tensor:
    zeros = torch.zeros(matrices.shape[-1], dtype=torch.float64)
    return least_factor(matrices, zeros).to(torch.float64).log()
