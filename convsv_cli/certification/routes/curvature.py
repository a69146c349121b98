r"""Radii from bounds of the curvature of differences of logits, for chains with one smooth activation.

They solve the dual problem of the nearest input of another class (CRC; Singla & Feizi, arXiv 2006.00731).

With f = z_y - z_t, whose Hessian lies between -lower and upper, every point x with f(x) <= 0 is so far from
x0 that |x - x0|^2 / 2 >= d(eta) = min_x |x - x0|^2 / 2 + eta f(x), for every eta >= 0. For eta * lower < 1
the inner problem is strongly convex with 1 - eta * lower, so that any x proves d(eta) >= its value there
less |gradient|^2 / (2 (1 - eta * lower)). So every step of every inner problem gives a radius, and the
largest counts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from convsv_cli.certification.curvature_bounds import curvature_bounds
from convsv_cli.certification.routes.certifier import (
    Certifier,
    Problem,
    Proven,
    executed,
    pair_errors,
    pair_margins,
)
from convsv_cli.errors import UsageError
from convsv_cli.numerics.rounding import round_down
from convsv_cli.report import CURVATURE
from convsv_cli.spectral.cores import one_thread_each, parallel_map

BOUNDS = 0.5
"""Of the progress: bounds of the curvature, before any sample."""
WORK = 4e12
"""Multiplications for tighter bounds: minutes, for ten classes of 3x32x32; hours for a hundred."""
STRICT = 0.999  # eta stays so far below 1 / lower
DECADES = 1e4  # to either side of the eta that would be right, were f linear
LARGEST = 1e100
SLACK = 1e-9  # of the logits at x0: taken off f for the rounding of float64, and much more than that
CHUNK = 2048


def prove(problem: Problem, progress: Callable[[float], None]) -> Proven:
    """By the dual problem of the nearest input of another class, over all cores."""
    chain, x = problem.chain, problem.x
    if chain is None:
        return Proven(radii=torch.zeros(len(x), dtype=torch.float64), reason=problem.no_chain)
    bounds = curvature_bounds(
        chain.model,
        input_shape=x.shape[1:],
        work_limit=WORK,
        progress=lambda share: progress(BOUNDS * share),
    )

    def some(part: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        samples, errors = part
        return curvature_radii(chain.model, samples, bounds, pair_error=errors)

    def radii(errors: torch.Tensor) -> torch.Tensor:
        parts = zip(torch.split(x, chain.count), torch.split(errors, chain.count), strict=True)
        with one_thread_each():
            found = parallel_map(some, [*parts], lambda share: progress(BOUNDS + (1 - BOUNDS) * share))
        return torch.cat(found) / problem.input_scale

    constants = (("largest_curvature", float(bounds.max())),)
    return Proven(radii=executed(problem, radii), constants=constants, arithmetic=problem.arithmetic)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How many eta are tried, and steps for each of them."""

    rounds: int
    steps: int


ROUGH = Effort(rounds=6, steps=5)


def curvature_radii(
    model: nn.Module,
    x: torch.Tensor,
    bounds: torch.Tensor,
    *,
    logit_error: float = 0.0,
    pair_error: float | torch.Tensor = 0.0,
    rounds: int = 20,
    steps: int = 20,
) -> torch.Tensor:
    """Radii in the Euclidean norm within which no input has another class: float64 [n], 0 for a tie.

    The certificate of Singla & Feizi (CRC, arXiv 2006.00731), with Euclidean norms in the units of `x`. The
    least over all other classes: the runner-up alone claims too much. Whether the class that is predicted
    is the true one is for the caller to ask.

    Args:
        model: with logits as its output, [n, classes]; a copy is run in float64, in evaluation mode.
        x: [n, ..].
        bounds: K[y, t] of `curvature_bounds`: [classes, classes].
        logit_error: by how much each logit of the network that is to be protected may be off the exact one:
            for float32, and for torch's Softplus, which is linear above its threshold (2.1e-9 a unit).
        pair_error: bound of a further error of the differences of the largest logit and the others, of all or
            [n, classes]; infinite for no claim.
        rounds, steps: multipliers that are tried for the nearest classes, and steps for each.

    What is proven holds of all steps alike (see the top of this module). Values and gradients are computed in
    float64; no proof bounds their rounding, but 1e-9 of the logits is taken off for it.

    Raises:
        UsageError: the bounds or the errors do not fit the model, or are no bounds.
    """
    model = copy.deepcopy(model).double().eval().to(x.device)
    with torch.no_grad():
        logits = model(x.double())
    classes = logits.shape[1]
    if bounds.shape != (classes, classes) or not (bounds >= 0).all():
        raise UsageError(f"the bounds must be numbers >= 0, [{classes}, {classes}]")
    search = _Search(
        model=model,
        x=x.detach().double(),
        logits=logits,
        bounds=bounds.to(logits),
        errors=pair_errors(logits, logit_error, pair_error),
    )
    radii = search.over_classes(Effort(rounds=rounds, steps=steps))
    return round_down(1.0) * radii


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """Over all other classes of each input."""

    model: nn.Module
    x: torch.Tensor
    logits: torch.Tensor
    bounds: torch.Tensor
    errors: torch.Tensor

    def over_classes(self, effort: Effort) -> torch.Tensor:
        """The least: a rough radius for each class, a better one for the nearest and what is nearer yet."""
        apart = pair_margins(self.logits, self.errors) > 0
        radii = torch.zeros_like(self.logits)
        radii[apart] = self._radii(apart, ROUGH)
        radii.scatter_(1, self.logits.argmax(1, keepdim=True), math.inf)
        first = torch.zeros_like(apart).scatter(1, radii.argmin(1, keepdim=True), value=True) & apart
        radii[first] = torch.maximum(radii[first], self._radii(first, effort))
        reached = torch.where(first, radii, 0.0).amax(1, keepdim=True)
        nearer = (radii < reached) & apart
        radii[nearer] = torch.maximum(radii[nearer], self._radii(nearer, effort))
        return radii.amin(1)

    def _radii(self, chosen: torch.Tensor, effort: Effort) -> torch.Tensor:
        """For the pairs of an input and a class that are chosen: bool [n, classes] -> [pairs]."""
        rows, t = chosen.nonzero(as_tuple=True)
        y = self.logits.argmax(1)[rows]
        pairs = Pairs(
            start=self.x[rows],
            y=y,
            t=t,
            lower=self.bounds[t, y],
            upper=self.bounds[y, t],
            error=self.errors[rows, t],
        )
        return proven_radii(self.model, pairs, effort)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Inputs with two classes each, and what is known of z_y - z_t.

    Attributes:
        start: x0, float64 [n, ..].
        y, t: int64 [n].
        lower, upper: minus a lower, and an upper bound of the Hessian's eigenvalues: float64 [n], >= 0.
        error: of z_y - z_t, absolute: float64 [n].
    """

    start: torch.Tensor
    y: torch.Tensor
    t: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    error: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)

    def part(self, rows: slice) -> Pairs:
        """Some of them."""
        start, y, t, lower, upper, error = (
            each[rows] for each in (self.start, self.y, self.t, self.lower, self.upper, self.error)
        )
        return replace(self, start=start, y=y, t=t, lower=lower, upper=upper, error=error)


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
    value, slope, size = _values(model, pairs, pairs.start)
    error = pairs.error + SLACK * size
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


ROUTE = Certifier(name=CURVATURE, prove=prove)
