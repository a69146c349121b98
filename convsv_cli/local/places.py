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

from convsv_cli.local.maps import Product
from convsv_cli.local.pieces import Enclosure
from convsv_cli.local.steps import Affine, Elementwise, Program
from convsv_cli.numerics.rounding import UP_MANY, gamma
from convsv_cli.spectral.matrix_norm import matrix_norm

LARGEST_MATRIX = 2**21
"""Entries of a matrix whose norm is looked for again at each sample, without the columns that cannot move."""
MASKED = 0.97
"""Of the columns: where more of them can move, the norm of the whole matrix is as good."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """A box and a ball around a centre that each hold a tensor.

    Attributes:
        centre: [n, *shape].
        lower, upper: [n, *shape]: the tensor lies between centre + lower and centre + upper.
        radius: [n]: the Euclidean norm of the tensor less the centre is at most this.
    """

    centre: Tensor
    lower: Tensor
    upper: Tensor
    radius: Tensor

    @property
    def low(self) -> Tensor:
        """The lower end of the box, rounded down."""
        return _down(self.centre + self.lower)

    @property
    def high(self) -> Tensor:
        """The upper end of the box, rounded up."""
        return _up(self.centre + self.upper)

    @property
    def largest(self) -> Tensor:
        """The largest deviation of each entry."""
        return torch.maximum(-self.lower, self.upper)

    @property
    def magnitude(self) -> Tensor:
        """The largest absolute value of each entry, rounded up."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def take(self, rows: Tensor) -> Place:
        """Those of some samples, in any order and as often as asked."""
        return Place(
            centre=self.centre[rows], lower=self.lower[rows], upper=self.upper[rows], radius=self.radius[rows]
        )

    def within(self, lower: Tensor, upper: Tensor) -> Place:
        """Where the deviation also lies between two others.

        Args:
            lower, upper: [n, *shape].
        """
        lower, upper = torch.maximum(self.lower, lower), torch.minimum(self.upper, upper)
        place = replace(self, lower=lower, upper=upper)
        return replace(place, radius=torch.minimum(self.radius, _length(place.largest)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Ball:
    """Samples with the balls around them that are looked at.

    Attributes:
        x: float64 [n, *shape].
        radius: float64 [n], at least 0.
        lower, upper: no entry of an input is less or more than this.
        constants: certified Lipschitz constants from the input of the network to some of its tensors.
    """

    x: Tensor
    radius: Tensor
    lower: float = -math.inf
    upper: float = math.inf
    constants: Mapping[str, float] = field(default_factory=dict)

    def take(self, rows: Tensor) -> Ball:
        """Some of the samples."""
        return replace(self, x=self.x[rows], radius=self.radius[rows])

    def place(self) -> Place:
        """Where the input is."""
        radius = per_sample(self.radius, self.x)
        whole = radius.expand(self.x.shape)
        lower = torch.maximum(-whole, _down(self.lower - self.x))
        upper = torch.minimum(whole, _up(self.upper - self.x))
        return Place(centre=self.x, lower=lower, upper=upper, radius=self.radius)


def places(
    program: Program, ball: Ball, known: Mapping[str, tuple[Tensor, Tensor]] | None = None
) -> dict[str, Place]:
    """Where all tensors of a network are, by name.

    Args:
        program: in float64.
        ball: where its input is.
        known: boxes, as two tensors of deviations from the centre, that some tensors are known to be in.
    """
    found = {program.source: ball.place()}
    for step in program.steps:
        place = _affine(step, found) if isinstance(step, Affine) else _elementwise(step, found[step.input])
        if step.output in ball.constants:
            drift = 0.0
            total = ball.constants[step.output] * ball.radius * UP_MANY + drift
            place = replace(place, radius=torch.minimum(place.radius, total))
        if known is not None and step.output in known:
            place = place.within(*known[step.output])
        found[step.output] = place
    return found


def _affine(step: Affine, found: Mapping[str, Place]) -> Place:
    inputs = tuple(found[name] for name in step.inputs)
    centre = step.forward(tuple(place.centre for place in inputs))
    middles = tuple((place.lower + place.upper) / 2 for place in inputs)
    widths = tuple(_up((place.upper - place.lower) / 2) for place in inputs)
    middle, width = step.linear(middles), step.absolute(widths)
    loss = gamma(step.roundings + 8)
    sizes = tuple(m.abs() + w for m, w in zip(middles, widths, strict=True))
    rounded = 3 * loss * step.absolute(sizes)
    drift = _drift(step, tuple(place.centre for place in inputs))
    lower, upper = middle - width - rounded, middle + width + rounded
    lengths = sum(_row_lengths(step, i, place, loss) for i, place in enumerate(inputs))
    lower, upper = torch.maximum(lower, -lengths), torch.minimum(upper, lengths)
    radius = sum(_radius(step, i, place) for i, place in enumerate(inputs))
    for name, norm in step.behind:
        radius = torch.minimum(radius, norm * found[name].radius * UP_MANY)
    place = Place(
        centre=centre,
        lower=_down(lower - drift),
        upper=_up(upper + drift),
        radius=(radius + _length(drift)) * UP_MANY,
    )
    return replace(place, radius=torch.minimum(place.radius, _length(place.largest)))


def _drift(step: Affine, centres: tuple[Tensor, ...]) -> Tensor:
    """By how much the computed centre may be off what the step makes of the ones before it."""
    size = step.absolute(tuple(centre.abs() for centre in centres))
    drift = size if step.shift is None else size + step.shift.abs()
    drift = drift * (2 * gamma(step.roundings + 2))
    return drift if step.shift_error is None else drift + step.shift_error


def _row_lengths(step: Affine, index: int, place: Place, loss: float) -> Tensor:
    """The lengths of the rows of a map, of columns that can move, times the radius: [n, *shape]."""
    moving = (place.largest > 0).to(place.centre)
    squares = step.maps[index].squared.forward(moving)
    lengths: Tensor = squares.sqrt() * per_sample(place.radius, squares) * (UP_MANY + loss)
    return lengths


def _radius(step: Affine, index: int, place: Place) -> Tensor:
    """The radius of what a map makes of a ball."""
    map_, norm = step.maps[index], step.norms[index]
    radius = norm * place.radius * UP_MANY
    if not isinstance(map_, Product) or map_.weight.ndim != 2 or map_.weight.numel() > LARGEST_MATRIX:
        return radius
    moving = (place.largest > 0).flatten(1)
    if (
        math.prod(map_.taken) != moving.shape[1]
        or math.prod(map_.taken) != map_.weight.shape[1 if map_.left else 0]
    ):
        return radius
    matrix = map_.weight if map_.left else map_.weight.T
    masked = [
        matrix_norm(matrix[None, :, row]).upper if float(row.double().mean()) < MASKED else norm
        for row in moving
    ]
    return torch.minimum(radius, torch.tensor(masked, dtype=torch.float64) * place.radius * UP_MANY)


def _elementwise(step: Elementwise, place: Place) -> Place:
    """A function of numbers in a box, by the ends of the lines that enclose it."""
    low, high = place.low, place.high
    enclosure = step.enclosure(low, high)
    centre = step.value(place.centre)
    least, most = bounds(enclosure, low, high)
    lower, upper = _down(least - centre), _up(most - centre)
    reach = step.lipschitz * place.largest * UP_MANY
    if not step.exact:
        reach = reach + centre.abs() * gamma(64)
    lower, upper = torch.maximum(lower, -reach), torch.minimum(upper, reach)
    radius = step.lipschitz * place.radius * UP_MANY
    if not step.exact:
        radius = (radius + _length(centre) * gamma(64)) * UP_MANY
    found = Place(centre=centre, lower=lower, upper=upper, radius=radius)
    return replace(found, radius=torch.minimum(radius, _length(found.largest)))


def bounds(enclosure: Enclosure, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The least value of the lower function, and the largest of the upper one, between two ends."""
    least = torch.minimum(enclosure.lower(low), enclosure.lower(high))
    most = torch.maximum(enclosure.upper(low), enclosure.upper(high))
    for side in (enclosure.lower, enclosure.upper):
        for knot, *lines in zip(
            side.knots, side.slopes, side.slopes[1:], side.intercepts, side.intercepts[1:], strict=False
        ):
            at = torch.as_tensor(knot, dtype=low.dtype)
            inside = (low <= at) & (at <= high)
            one, two = lines[0] * at + lines[2], lines[1] * at + lines[3]
            if side is enclosure.lower:
                smaller = torch.minimum(torch.as_tensor(one), torch.as_tensor(two))
                least = torch.where(inside, torch.minimum(least, smaller), least)
            if side is enclosure.upper:
                larger = torch.maximum(torch.as_tensor(one), torch.as_tensor(two))
                most = torch.where(inside, torch.maximum(most, larger), most)
    return least, most


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """[n] as [n, 1, ..], to be broadcast."""
    return values.reshape(-1, *(1 for _ in like.shape[1:]))


def _length(vectors: Tensor) -> Tensor:
    """Euclidean norms [n], rounded up."""
    flat = vectors.flatten(1)
    return torch.linalg.vector_norm(flat, dim=1) * (1 + gamma(flat.shape[1] + 16))


def _up(x: Tensor) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, math.inf))


def _down(x: Tensor) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, -math.inf))
