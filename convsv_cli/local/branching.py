"""Branching: what one bound does not decide, two may, on either side of a kink of one function of numbers.

A ball is cut where the input of one function is at one of its kinks, and each half again, so that this is a
line in both. A sample keeps its class if it does in all parts. Where runtimes round, a part holds what
they compute and what it should be: both halves reach beyond the kink by how far these can be apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convsv_cli.local.places import Place, down, up
from convsv_cli.local.propagation import Boxes
from convsv_cli.local.steps import Elementwise, Program

MEMORY = 2**29
"""Bytes that the boxes of all parts that are looked at together may take."""
SURE = 2
"""Cuts after which it is foreseen what more of them lead to."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decided:
    """What is known of parts of balls.

    Attributes:
        worst: lower bounds of the margins, positive where the class is kept: [parts].
        look: given int64 [m], some of the parts, where their tensors are, and by how much each result of a
            function of numbers counts there.
    """

    worst: Tensor
    look: Callable[[Tensor], tuple[dict[str, Place], Mapping[str, Tensor]]]


Decide = Callable[[Tensor, Boxes], Decided]
"""Of parts: the samples that they are of, int64 [parts], and the boxes of their tensors."""


def together(program: Program, depth: int) -> int:
    """How many samples have room in memory when all of their parts are cut.

    Args:
        program: in float64.
        depth: how often parts are cut.
    """
    return (MEMORY // (16 * max(1, program.entries))) >> depth


def least_of_parts(program: Program, decide: Decide, known: Boxes, count: int, depth: int) -> Tensor:
    """Lower bounds of margins over all parts of balls; minus infinity where that led nowhere: [count].

    Args:
        program: in float64.
        decide: looks at parts.
        known: boxes that hold in all parts, of each sample.
        count: of the samples.
        depth: how often a part is cut at most.
    """
    sample, boxes = torch.arange(count), known
    infinite = torch.full((count,), math.inf, dtype=torch.float64)
    least, first, lost = infinite, infinite, torch.zeros(count, dtype=torch.bool)
    for level in range(depth + 1):
        found = decide(sample, boxes)
        proven = found.worst > 0
        least = least.scatter_reduce(0, sample[proven], found.worst[proven], "amin")
        reached = infinite.scatter_reduce(0, sample, found.worst, "amin")
        first = reached if level == 0 else first
        lost |= ~(reached > 0) & ~(reached + _foreseen(reached - first, level, depth) > 0)
        left = (~proven & ~lost[sample]).nonzero()[:, 0]
        if not len(left):
            break
        sample, boxes = _cut(program, found, left, sample)
    return torch.where(lost, -math.inf, least)


def _foreseen(gained: Tensor, level: int, depth: int) -> Tensor | float:
    """What further cuts gain if they gain as much as those before; any number where there were few."""
    if level < min(SURE, depth):
        return math.inf
    return gained / max(level, 1) * (depth - level)


def _cut(program: Program, found: Decided, which: Tensor, sample: Tensor) -> tuple[Tensor, Boxes]:
    """Both halves of some parts, cut where the lines around a function are most in the way.

    A part that no cut can help is handed on as it is, twice.
    """
    looked, weights = found.look(which)
    boxes = {
        step.input: [looked[step.input].lower.clone(), looked[step.input].upper.clone()]
        for step in program.activations
    }
    cuts = [
        _Cut(step=step, knot=index, place=looked[step.input], weight=weights[step.output])
        for step in program.activations
        if step.output in weights
        for index in range(_kinks(step, looked[step.input]))
    ]
    both = {name: [torch.cat([end, end]) for end in ends] for name, ends in boxes.items()}
    if cuts:
        best = torch.stack([cut.height.amax(1) for cut in cuts])
        for index, cut in enumerate(cuts):
            rows = ((best.argmax(0) == index) & (best[index] > 0)).nonzero()[:, 0]
            cut.apply(rows, both[cut.step.input])
    return sample[which].repeat(2), {name: (ends[0], ends[1]) for name, ends in both.items()}


def _kinks(step: Elementwise, place: Place) -> int:
    """Of a function that is piecewise linear; others are not cut."""
    enclosure = step.enclosure(place.low, place.high)
    return len(enclosure.lower.knots) if enclosure.exact else 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cut:
    """At one of the kinks of a function of numbers.

    Attributes:
        step: the function.
        knot: which of its kinks.
        place: where its input is, of m parts.
        weight: by how much each of its results counts, [m, *shape].
    """

    step: Elementwise
    knot: int
    place: Place
    weight: Tensor

    @property
    def at(self) -> Tensor:
        """The kink, [m, entries]."""
        knot = self.step.enclosure(self.place.low, self.place.high).lower.knots[self.knot]
        at: Tensor = torch.as_tensor(knot, dtype=torch.float64).expand(self.place.centre.shape)
        return at.flatten(1)

    @property
    def height(self) -> Tensor:
        """How far the chord of the box is from the function at the kink, as far as it counts: [m, entries].

        It is 0 where the kink is not inside of the box.
        """
        low, high = self.place.low, self.place.high
        function, at = self.step.enclosure(low, high).lower, self.at.view_as(low)
        share = (at - low) / (high - low)
        chord = (1 - share) * function(low) + share * function(high)
        height = torch.where((low < at) & (at < high), (chord - function(at)).abs() * self.weight, 0.0)
        return torch.where(height.isfinite(), height, 0.0).flatten(1)

    def apply(self, rows: Tensor, ends: list[Tensor]) -> None:
        """Cut the boxes of some parts: of their first halves below the kink, of their second ones above.

        Args:
            rows: of the parts.
            ends: lower and upper ends of the boxes of all first halves, and all second ones: [2 m, *shape].
        """
        count, entry = len(self.weight), self.height.argmax(1)[rows]
        lower, upper = (end.flatten(1) for end in ends)
        apart = self.place.noise[rows]
        kink = self.at[rows, entry] - self.place.centre.flatten(1)[rows, entry]
        above = up(up(kink) + apart)
        below = down(down(kink) - apart)
        upper[rows, entry] = torch.minimum(upper[rows, entry], above)
        lower[count + rows, entry] = torch.maximum(lower[count + rows, entry], below)
