"""What is to be proven: which class samples keep, in balls around them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from convsv_cli.local.arithmetic import REAL, Arithmetic
from convsv_cli.local.places import Ball, down, per_sample, up
from convsv_cli.local.propagation import at_rest
from convsv_cli.local.steps import Program
from convsv_cli.numerics.rounding import UP_MANY


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A classifier at samples.

    Attributes:
        program: in float64, to logits of which all axes but that of the classes have length 1.
        x: samples, float64 [n, *shape of the input].
        classes: that are to be kept, int64 [n]: those that are predicted.
        lower, upper: of what entries of inputs can be, as numbers or tensors that fit one sample.
        constants: certified Lipschitz constants from the input to tensors, by name.
        arithmetic: in which the network is run.
        still: of `Ball`.
        cubes: whether radii are of balls in the maximum norm, and not in the Euclidean one.
    """

    program: Program
    x: Tensor
    classes: Tensor
    lower: float | Tensor = -math.inf
    upper: float | Tensor = math.inf
    constants: Mapping[str, float] = field(default_factory=dict)
    arithmetic: Arithmetic = REAL
    still: Mapping[str, Tensor] | None = None
    cubes: bool = False

    def limited(self) -> Problem:
        """With what entries of inputs can be as a constraint of all bounds."""
        ends = [torch.as_tensor(each).isfinite().any() for each in (self.lower, self.upper)]
        return replace(self, program=self.program.limited()) if self.cubes or any(ends) else self

    def take(self, rows: Tensor) -> Problem:
        """Some of the samples."""
        still = None if self.still is None else {name: each[rows] for name, each in self.still.items()}
        return replace(self, x=self.x[rows], classes=self.classes[rows], still=still)

    def at_rest(self) -> Problem:
        """With how far computed tensors are from real ones at the samples."""
        return replace(self, still=at_rest(self.program, self.x))

    def ball(self, radius: Tensor) -> Ball:
        """The samples with balls of these radii, [n]; a cube is a ball that is cut by a box."""
        lower, upper = self.lower, self.upper
        if self.cubes:
            side = per_sample(radius, self.x)
            lower = torch.maximum(torch.as_tensor(lower).to(side), down(self.x - side))
            upper = torch.minimum(torch.as_tensor(upper).to(side), up(self.x + side))
            radius = radius * (math.sqrt(self.x[0].numel()) * UP_MANY)
        return Ball(
            x=self.x,
            radius=radius,
            lower=lower,
            upper=upper,
            constants=self.constants,
            arithmetic=self.arithmetic,
            still=self.still,
        )

    @property
    def count(self) -> int:
        """How many classes there are."""
        return math.prod(self.program.shapes[self.program.output])

    def rivals(self) -> tuple[Tensor, Tensor]:
        """Each sample with each of its other classes: int64 [n (classes - 1)], twice."""
        n, count = len(self.x), self.count
        sample, rival = torch.arange(n).repeat_interleave(count), torch.arange(count).repeat(n)
        others = rival != self.classes[sample]
        return sample[others], rival[others]

    def directions(self, sample: Tensor, rival: Tensor) -> Tensor:
        """Logits of the classes that are to be kept, less those of their rivals: float64 [n, *shape]."""
        rows = torch.arange(len(sample))
        found = torch.zeros(len(sample), self.count, dtype=torch.float64)
        found[rows, self.classes[sample]] = 1.0
        found[rows, rival] = -1.0
        return found.reshape(-1, *self.program.shapes[self.program.output])
