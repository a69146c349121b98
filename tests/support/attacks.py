"""Attacks on classifiers, in the Euclidean norm: how near is an input of another class?"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Net = Callable[[torch.Tensor], torch.Tensor]


def nearest_found(net: Net, x: torch.Tensor, radii: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    """The least distance at which an attack finds another class: [n], infinite where none does.

    PGD with restarts in balls a little larger than `radii` and much larger, and for each class a search for
    the nearest point of its boundary; every success is bisected down to the boundary.
    """
    y = net(x).argmax(1)
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.where(radii.isfinite() & (radii > 0), radii, 0.1)
    found = torch.full_like(radii, math.inf)
    for scale in (1.0, 1.1, 2.0, 8.0):
        for _ in range(2):
            end = _pgd(net, x, y, scale * sizes, generator)
            found = torch.minimum(found, _bisected(net, x, y, end))
    for other in range(net(x[:1]).shape[1]):
        end = _boundary(net, x, y, torch.full_like(y, other))
        for stretch in (1 + 1e-9, 1 + 1e-6, 1.001, 1.05):
            found = torch.minimum(found, _bisected(net, x, y, stretch * end))
    return found


def nearest_exhaustively(net: Net, x: torch.Tensor, *, reach: float, steps: int = 400) -> torch.Tensor:
    """The same for inputs [n, 1] or [n, 2], over a polar grid up to `reach` around each of them."""
    angles = torch.arange(360 if x.shape[1] == 2 else 2, dtype=x.dtype)
    angles = angles * (2 * math.pi / len(angles))
    ways = torch.stack([angles.cos(), angles.sin()], 1)[:, : x.shape[1]]
    lengths = reach * torch.arange(1, steps + 1, dtype=x.dtype) / steps
    found = []
    for point in x:
        places = point + lengths[:, None, None] * ways
        classes = net(places.flatten(0, 1)).argmax(1).view(places.shape[:2])
        other = (classes != net(point[None]).argmax(1)).any(1)
        found.append(float(lengths[other][0]) if other.any() else math.inf)
    return torch.tensor(found, dtype=x.dtype)


def _excess(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The largest other logit less that of y."""
    others = logits.scatter(1, y[:, None], -math.inf)
    return others.amax(1) - logits.gather(1, y[:, None])[:, 0]


def _norm(delta: torch.Tensor) -> torch.Tensor:
    return delta.flatten(1).norm(dim=1).view(-1, *(1 for _ in delta.shape[1:]))


def _pgd(net: Net, x: torch.Tensor, y: torch.Tensor, radii: torch.Tensor, generator: torch.Generator):
    size = radii.view(-1, *(1 for _ in x.shape[1:]))
    delta = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    delta = size * delta / _norm(delta)
    for step in range(30):
        delta.requires_grad_()
        (gradient,) = torch.autograd.grad(_excess(net(x + delta), y).sum(), delta)
        delta = delta.detach() + size * (0.5 / (1 + step / 3)) * gradient / _norm(gradient).clamp_min(1e-30)
        delta = delta * (size / _norm(delta)).clamp_max(1)
    return delta


def _boundary(net: Net, x: torch.Tensor, y: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Where z_other = z_y, as near as possible: each step goes to the nearest zero of a linear model."""
    delta = torch.zeros_like(x)
    for _ in range(25):
        delta.requires_grad_()
        logits = net(x + delta)
        gap = (logits.gather(1, other[:, None]) - logits.gather(1, y[:, None]))[:, 0]
        (gradient,) = torch.autograd.grad(gap.sum(), delta)
        delta = delta.detach()
        along = (gradient * delta).flatten(1).sum(1) - gap.detach()
        target = gradient * (along / gradient.flatten(1).square().sum(1).clamp_min(1e-30)).view(
            -1, *(1 for _ in x.shape[1:])
        )
        delta = 0.3 * delta + 0.7 * target
    return torch.nan_to_num(delta)


def _bisected(net: Net, x: torch.Tensor, y: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """How far along `delta` the class changes: a distance at which it has; infinite where it never does."""
    shape = (-1, *(1 for _ in x.shape[1:]))
    low, high = torch.zeros(len(x), dtype=x.dtype), torch.ones(len(x), dtype=x.dtype)
    fooled = net(x + delta).argmax(1) != y
    for _ in range(40):
        middle = (low + high) / 2
        inside = net(x + middle.view(shape) * delta).argmax(1) != y
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    return torch.where(fooled, high * _norm(delta).flatten(), math.inf)
