"""Smaller boxes: the backward bound itself, at each number that may be on both sides of a kink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from convsv_cli.local.certificate import certified
from convsv_cli.local.choices import first_choices
from convsv_cli.local.places import Ball, Place
from convsv_cli.local.propagation import places
from convsv_cli.local.rows import samples_of
from convsv_cli.local.search import at_once, improved
from convsv_cli.local.steps import Elementwise, Program
from convsv_cli.numerics.rounding import gamma

Boxes = dict[str, tuple[Tensor, Tensor]]


def smaller_boxes(
    program: Program, ball: Ball, steps: int, most: int, told: Callable[[], None] = lambda: None
) -> Boxes:
    """Boxes of the inputs of functions of numbers, as deviations from the centres: see `places`.

    Args:
        program: in float64.
        ball: where its input is.
        steps: of the search for each end.
        most: entries of all tensors of all rows of a sample together, beyond which a tensor keeps its box.
        told: called after each step of the search.
    """
    known: Boxes = {}
    for step in program.activations:
        part = program.up_to(step.input)
        if not part.activations:
            continue
        found = places(part, ball, known)
        sample, entry = kinked(step, found[step.input]).nonzero(as_tuple=True)
        if 0 < len(sample) * part.entries <= most * len(ball.x):
            searched = _Search(part=part, found=found, steps=steps, told=told)
            known[step.input] = searched.box(sample, entry)
    return known


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """For smaller boxes of one tensor, the output of a part of the network."""

    part: Program
    found: dict[str, Place]
    steps: int
    told: Callable[[], None]

    def box(self, sample: Tensor, entry: Tensor) -> tuple[Tensor, Tensor]:
        """As deviations from the centre, [n, *shape]; only these entries become smaller."""
        place = self.found[self.part.output]
        single = self.part.to(torch.float32)
        rough, exact = samples_of(single, self.found), samples_of(self.part, self.found)
        lower, upper = place.lower.flatten(1).clone(), place.upper.flatten(1).clone()
        for rows in torch.split(torch.arange(len(sample)), at_once(single)):
            at, which = sample[rows], entry[rows]
            centre = place.centre.flatten(1)[at, which]
            for sign, ends in ((1.0, lower), (-1.0, upper)):
                direction = torch.zeros(len(at), lower.shape[1], dtype=torch.float64)
                direction[torch.arange(len(at)), which] = sign
                direction = direction.unflatten(1, place.lower.shape[1:])
                asked = rough.rows(at, direction)
                choices, _ = improved(asked, first_choices(asked), self.steps, self.told)
                bounds = certified(exact.rows(at, direction), [choice.double() for choice in choices])
                end = bounds - sign * centre
                end -= (bounds.abs() + centre.abs()) * gamma(4)
                ends[at, which] = sign * torch.maximum(sign * ends[at, which], end)
        return lower.view_as(place.lower), upper.view_as(place.upper)


def kinked(step: Elementwise, place: Place) -> Tensor:
    """Whether a box holds a knot of the function: [n, entries]."""
    enclosure, low, high = step.enclosure(place.low, place.high), place.low, place.high
    if not enclosure.exact:
        return torch.ones_like(low, dtype=torch.bool).flatten(1)
    found = torch.zeros_like(low, dtype=torch.bool)
    for knot in enclosure.lower.knots:
        found |= (low < knot) & (knot < high)
    return found.flatten(1)
