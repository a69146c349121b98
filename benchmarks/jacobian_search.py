"""The largest Jacobian of a network that a search finds: its Lipschitz constant, estimated from below."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.torch_graph import TorchGraph

PHASES, STEPS, ITERATIONS = 4, 100, 8
HALF, RATE = 0.1, 0.02  # of the first phase: half of a pair's distance, and a step, relative to a point
ALONG = (0.0, 0.25, 0.5, 0.75, 1.0)  # from one point of a pair to the other


def largest_jacobian(graph: TorchGraph, points: Tensor, *, phases: int = PHASES, steps: int = STEPS) -> float:
    """The largest norm of a Jacobian that was found, in single precision.

    The Jacobian of a ReLU network is constant around almost every point, so that its norm has no gradient to
    follow. The ratio |f(x) - f(y)| / |x - y| of two points has one, and the Jacobian somewhere between them
    is no smaller: Adam raises it, and the best point on the way from x to y is the middle of the next pair,
    which is half as wide.

    Args:
        graph: the network.
        points: where the search starts, [b, *shape]; it may leave the range that they are in.
        phases: pairs, one after the other.
        steps: of Adam, in each.
    """
    generator = torch.Generator().manual_seed(0)
    norms, v = jacobian_norms(graph, points, unit(torch.randn(points.shape, generator=generator)))
    for phase in range(phases):
        way = HALF * 0.5**phase * lengths(points).view(column(points)) * v
        first, last = _raised(graph, points - way, points + way, RATE * 0.5**phase, steps)
        for share in ALONG:
            between = (1 - share) * first + share * last
            found, directions = jacobian_norms(graph, between, unit(last - first))
            better = found > norms
            norms = torch.where(better, found, norms)
            better = better.view(column(points))
            points, v = torch.where(better, between, points), torch.where(better, directions, v)
    return float(norms.max())


def jacobian_norms(
    graph: TorchGraph, x: Tensor, v: Tensor, iterations: int = ITERATIONS
) -> tuple[Tensor, Tensor]:
    """Norms [b] of the Jacobians at points, from below, and the unit directions [b, *shape] that attain them.

    Args:
        graph: the network.
        x: the points, [b, *shape].
        v: unit directions to start the power iteration from, [b, *shape].
        iterations: of it.
    """
    x = x.detach().requires_grad_()
    y = graph.values(x)
    for _ in range(iterations):
        _, image = torch.func.jvp(graph.values, (x.detach(),), (v,))
        (pulled,) = torch.autograd.grad(y, x, unit(image), retain_graph=True)
        v = unit(pulled)
    _, image = torch.func.jvp(graph.values, (x.detach(),), (v,))
    return lengths(image), v


def _raised(graph: TorchGraph, x: Tensor, y: Tensor, rate: float, steps: int) -> tuple[Tensor, Tensor]:
    """Pairs whose ratios are larger than those of x and y, [b, *shape] each."""
    x, y = (each.detach().requires_grad_() for each in (x, y))
    typical = float(lengths(x.detach()).mean()) / math.sqrt(x[0].numel())
    optimiser = torch.optim.Adam([x, y], lr=rate * typical)
    for _ in range(steps):
        ratios = lengths(graph.values(x) - graph.values(y)).log() - lengths(x - y).log()
        optimiser.zero_grad()
        (-ratios.sum()).backward()
        optimiser.step()
    return x.detach(), y.detach()


def column(x: Tensor) -> tuple[int, ...]:
    """The shape of one number for each of a batch."""
    return (len(x), *[1] * (x.ndim - 1))


def lengths(x: Tensor) -> Tensor:
    """Euclidean norms [b] of a batch."""
    return x.flatten(1).norm(dim=1)


def unit(x: Tensor) -> Tensor:
    """A batch, each at length 1."""
    return x / lengths(x).clamp_min(1e-30).view(column(x))
