"""Smaller boxes: the backward bound itself, at each number that may be on both sides of a kink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convsv_cli.local.backward import at_once, improved
from convsv_cli.local.certificate import certified
from convsv_cli.local.choices import first_choices
from convsv_cli.local.effort import BoxEffort
from convsv_cli.local.places import Ball, Place
from convsv_cli.local.propagation import places
from convsv_cli.local.rows import samples_of
from convsv_cli.local.steps import Elementwise, Program
from convsv_cli.numerics.rounding import gamma


def smaller_boxes(
    program: Program,
    ball: Ball,
    weights: Mapping[str, Tensor],
    effort: BoxEffort,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Boxes of the inputs of functions of numbers, as deviations from the centres: see `places`.

    Args:
        program: in float64.
        ball: where its input is.
        weights: how much each result of a function of numbers counts, [n, *shape], by name.
        effort: how long is searched, and for how many numbers.
    """
    whole, known = places(program, ball), dict[str, tuple[Tensor, Tensor]]()
    behind = [step for step in program.activations if program.up_to(step.input).activations]
    gaps = {
        step.input: gap(step, whole[step.input]) * weights[step.output].flatten(1)
        for step in behind
        if step.output in weights
    }
    chosen = largest(gaps, effort.count)
    for name, numbers in chosen.items():
        sample, entry = numbers.nonzero(as_tuple=True)
        if len(sample):
            part = program.up_to(name)
            searched = _Search(part=part, found=places(part, ball, known), steps=effort.steps)
            known[name] = searched.box(sample, entry)
    return known


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """For smaller boxes of one tensor, the output of a part of the network."""

    part: Program
    found: dict[str, Place]
    steps: int

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
                direction = direction.reshape(-1, *place.lower.shape[1:])
                asked = rough.rows(at, direction)
                choices, _ = improved(asked, first_choices(asked), self.steps)
                bounds = certified(exact.rows(at, direction), [choice.double() for choice in choices])
                end = bounds - sign * centre
                end -= (bounds.abs() + centre.abs()) * gamma(4)
                ends[at, which] = sign * torch.maximum(sign * ends[at, which], end)
        return lower.view_as(place.lower), upper.view_as(place.upper)


def largest(values: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Whether each of [n, entries] is positive, and among the largest ones of its row in all tensors."""
    if not values:
        return {}
    together = torch.cat(list(values.values()), 1)
    least = together.topk(min(count, together.shape[1]), dim=1).values[:, -1:]
    return {name: (each > 0) & (each >= least) for name, each in values.items()}


def gap(step: Elementwise, place: Place) -> Tensor:
    """How far the lines that enclose a function are apart between the ends of a box: [n, entries].

    That is the distance of the function's chord and the function in the middle of the box, or of the two
    functions where these differ.
    """
    low, high = place.low, place.high
    enclosure, middle = step.enclosure(low, high), (low + high) / 2
    chord = (enclosure.upper(low) + enclosure.upper(high)) / 2
    distances = (chord - enclosure.lower(middle)).abs() + (enclosure.upper(middle) - chord).abs()
    return distances.flatten(1)
