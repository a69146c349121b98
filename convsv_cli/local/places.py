"""Where the tensors of a network can be while its input is in a ball: a box and a ball for each of them.

Everything is kept as a deviation from a centre, which is what float64 makes of the network at the sample: the
distance between that and the network in real arithmetic is a part of the deviation, as is what the arithmetic
of a runtime does. Whatever is computed here is rounded outward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from convsv_cli.local.arithmetic import REAL, Arithmetic
from convsv_cli.numerics.rounding import gamma


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """A box and a ball around a centre that each hold a tensor.

    Attributes:
        centre: [n, *shape].
        lower, upper: [n, *shape]: the tensor lies between centre + lower and centre + upper.
        radius: [n]: the Euclidean norm of the tensor less the centre is at most this.
        own_noise: [n]: what of the radius rounding adds at the step that makes the tensor.
        noise: [n]: how far a runtime may be from real arithmetic at the same input, by all steps so far.
        off: [n, *shape]: how far runtimes may be off at the step that makes the tensor; None for not at all.
    """

    centre: Tensor
    lower: Tensor
    upper: Tensor
    radius: Tensor
    own_noise: Tensor
    noise: Tensor
    off: Tensor | None = None

    @property
    def low(self) -> Tensor:
        """The lower end of the box, rounded down."""
        return down(self.centre + self.lower)

    @property
    def high(self) -> Tensor:
        """The upper end of the box, rounded up."""
        return up(self.centre + self.upper)

    @property
    def largest(self) -> Tensor:
        """The largest deviation of each entry."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    @property
    def magnitude(self) -> Tensor:
        """The largest absolute value of each entry, rounded up."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def within(self, lower: Tensor, upper: Tensor) -> Place:
        """Where the deviation also lies between two others.

        Args:
            lower, upper: [n, *shape].
        """
        lower, upper = torch.maximum(self.lower, lower), torch.minimum(self.upper, upper)
        return replace(self, lower=lower, upper=upper).rounded()

    def rounded(self, radius: Tensor | None = None) -> Place:
        """With a ball that is no larger than another one, and than what the box needs.

        What infinite errors have made NaN, such as the middle of everything, is infinite in the result.

        Args:
            radius: [n].
        """
        lower, upper = unknown(self.lower, -math.inf), unknown(self.upper)
        least = torch.minimum(unknown(self.radius), length(torch.maximum(lower.abs(), upper.abs())))
        return replace(
            self,
            lower=lower,
            upper=upper,
            radius=least if radius is None else torch.minimum(least, unknown(radius)),
            own_noise=unknown(self.own_noise),
            noise=unknown(self.noise),
            off=None if self.off is None else unknown(self.off),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Ball:
    """Samples with the balls around them that are looked at.

    Attributes:
        x: float64 [n, *shape].
        radius: float64 [n], at least 0.
        lower, upper: no entry of an input is less or more than this; numbers, or tensors that fit `x`.
        constants: certified Lipschitz constants from the input of the network to some of its tensors.
        arithmetic: in which the network is run.
        still: how far tensors in real arithmetic may be from what is computed at the samples, by name: [n]
            each; None for not known yet.
    """

    x: Tensor
    radius: Tensor
    lower: float | Tensor = -math.inf
    upper: float | Tensor = math.inf
    constants: Mapping[str, float] = field(default_factory=dict)
    arithmetic: Arithmetic = REAL
    still: Mapping[str, Tensor] | None = None

    def place(self) -> Place:
        """Where the input is, as the format rounds it."""
        whole = per_sample(self.radius, self.x).expand(self.x.shape)
        lower = torch.maximum(-whole, down(self.lower - self.x))
        upper = torch.minimum(whole, up(self.upper - self.x))
        most = up(torch.maximum((self.x + lower).abs(), (self.x + upper).abs()))
        off = self.arithmetic.rounded(1, most)
        noise = length(off)
        return Place(
            centre=self.x,
            lower=down(lower - off),
            upper=up(upper + off),
            radius=up(self.radius + noise),
            own_noise=noise,
            noise=noise,
            off=None if self.arithmetic.real else off,
        )


def unknown(x: Tensor, value: float = math.inf) -> Tensor:
    """Infinite where it is NaN."""
    return torch.where(x.isnan(), value, x)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """[n] as [n, 1, ..], to be broadcast."""
    return values.reshape(-1, *(1 for _ in like.shape[1:]))


def length(vectors: Tensor) -> Tensor:
    """Euclidean norms of [n, *shape], rounded up: [n]."""
    flat = vectors.flatten(1)
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1) * (1 + gamma(flat.shape[1] + 16))
    return norms


def up(x: Tensor) -> Tensor:
    """Above every number that one rounding turns into `x`; 0 stays, as differences round to it exactly."""
    return torch.where(x == 0, x, torch.nextafter(x, torch.full_like(x, math.inf)))


def down(x: Tensor) -> Tensor:
    """Below every number that one rounding turns into `x`; 0 stays, as differences round to it exactly."""
    return torch.where(x == 0, x, torch.nextafter(x, torch.full_like(x, -math.inf)))
