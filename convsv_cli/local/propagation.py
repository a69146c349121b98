"""Boxes and balls of all tensors of a network, from those of its input onwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from convsv_cli.local.arithmetic import Arithmetic
from convsv_cli.local.maps import Map, Product
from convsv_cli.local.pieces import Coefficient, Enclosure, Piecewise
from convsv_cli.local.places import Ball, Place, down, length, per_sample, unknown, up
from convsv_cli.local.runtimes import Load
from convsv_cli.local.steps import Affine, Elementwise, Program
from convsv_cli.numerics.rounding import UP_MANY, gamma
from convsv_cli.spectral.matrix_norm import matrix_norm

LARGEST_SIDE, LARGEST_MATRIX = 256, 2**20
"""Smaller side, and entries, of a matrix whose norm is found again at each sample, without still columns."""
MASKED = 0.9
"""Of the columns: where more of them can move, the norm of the whole matrix is as good."""
UNDERFLOW = 1e-290
"""More than what all products that underflow can lose."""
Boxes = Mapping[str, tuple[Tensor, Tensor]]
"""Of tensors, by name: the two ends of their deviations from the centre, [n, *shape] each."""


def places(program: Program, ball: Ball, known: Boxes | None = None) -> dict[str, Place]:
    """Where all tensors of a network are, by name.

    Args:
        program: in float64.
        ball: where its input is.
        known: boxes that tensors are known to be in; the centres that they are around may have been computed
            among other samples, and so in another order of summation.
    """
    found = {program.source: ball.place()}
    asked = bool(ball.constants or known)
    still = at_rest(program, ball.x) if asked and ball.still is None else ball.still or {}
    for step in program.steps:
        if isinstance(step, Affine):
            place = _affine(step, found, ball.arithmetic)
        else:
            place = _elementwise(step, found[step.input], ball.arithmetic)
        constant = ball.constants.get(step.output)
        if constant is not None:
            place = place.rounded((constant * ball.radius + still[step.output] + place.noise) * UP_MANY)
        if known is not None and step.output in known:
            lower, upper = known[step.output]
            apart = per_sample(still[step.output], lower) * (2 * UP_MANY)
            place = place.within(down(lower - apart), up(upper + apart))
        found[step.output] = place
    return found


def at_rest(program: Program, x: Tensor) -> dict[str, Tensor]:
    """How far tensors in real arithmetic may be from what is computed at samples, by name: [n] each.

    Args:
        program: in float64.
        x: samples, float64 [n, *shape].
    """
    ball = Ball(x=x, radius=torch.zeros(len(x), dtype=torch.float64))
    return {name: place.radius for name, place in places(program, ball).items()}


def _affine(step: Affine, found: Mapping[str, Place], arithmetic: Arithmetic) -> Place:
    inputs = [found[name] for name in step.inputs]
    centre = step.forward(tuple(place.centre for place in inputs))
    if not step.rounds:
        return _moved(step.maps[0], inputs[0], centre, step.norms[0])
    noise = _drift(step, inputs)
    off = _off(step, inputs, found, arithmetic)
    noise = noise if off is None else noise + off * UP_MANY
    lower, upper = _ends(step, inputs)
    lower, upper = down(lower - noise), up(upper + noise)
    radius, own = _radius(step, inputs, found), length(noise)
    place = Place(
        centre=centre,
        lower=lower,
        upper=upper,
        radius=(radius + own) * UP_MANY,
        own_noise=own,
        noise=_noise(step, inputs, found, off),
        off=off,
    )
    return place.rounded()


def _off(
    step: Affine, inputs: Sequence[Place], found: Mapping[str, Place], arithmetic: Arithmetic
) -> Tensor | None:
    """What runtimes may be off."""
    if arithmetic.real or step.off is None:
        return None
    magnitudes = tuple(place.magnitude for place in inputs)
    size = step.absolute(magnitudes)
    if step.shift is not None:
        size = size + step.shift.abs()
    counts = step.counts(tuple((each > 0).to(each) for each in magnitudes))
    before = step.folded
    load = Load(
        size=size * (1 + gamma(step.roundings + 8)),
        most=max(float(each.max()) for each in magnitudes),
        terms=int(counts.max()),
        folded=0.0 if before is None else before.terms * float(found[before.start].magnitude.max()),
        weights=0.0 if before is None else before.largest,
    )
    return step.off(arithmetic, load)


def _moved(map_: Map, place: Place, centre: Tensor, norm: float) -> Place:
    """Where entries are only moved, or negated."""
    ends = map_.forward(place.lower), map_.forward(place.upper)
    found = Place(
        centre=centre,
        lower=torch.minimum(*ends),
        upper=torch.maximum(*ends),
        radius=norm * place.radius,
        own_noise=torch.zeros_like(place.radius),
        noise=norm * place.noise,
    )
    return found.rounded()


def _drift(step: Affine, inputs: Sequence[Place]) -> Tensor:
    """By how much the computed centre may be off what the step makes of the ones before it."""
    size = step.absolute(tuple(place.centre.abs() for place in inputs))
    if step.shift is not None:
        size = size + step.shift.abs()
    drift = size * (2 * gamma(step.roundings + 2)) + UNDERFLOW
    return drift if step.shift_error is None else drift + step.shift_error


def _ends(step: Affine, inputs: Sequence[Place]) -> tuple[Tensor, Tensor]:
    """Of the deviations of what the maps make: from boxes, and from lengths of rows and balls."""
    middles = tuple((place.lower + place.upper) / 2 for place in inputs)
    widths = tuple(
        up(torch.maximum(place.upper - middle, middle - place.lower))
        for place, middle in zip(inputs, middles, strict=True)
    )
    middle, width = step.linear(middles), step.absolute(widths)
    sizes = tuple(m.abs() + w for m, w in zip(middles, widths, strict=True))
    loss = gamma(step.roundings + 8)
    rounded = 3 * loss * step.absolute(sizes) + UNDERFLOW
    lower, upper = unknown(middle - width - rounded, -math.inf), unknown(middle + width + rounded)
    reach = torch.zeros_like(middle)
    for map_, place in zip(step.maps, inputs, strict=True):
        moving = (place.largest > 0).to(torch.float64)
        squares = map_.squared.forward(moving)
        reach = reach + squares.sqrt() * per_sample(place.radius, squares)
    reach = unknown(reach * (UP_MANY + loss))
    return torch.maximum(lower, -reach), torch.minimum(upper, reach)


def _radius(step: Affine, inputs: Sequence[Place], found: Mapping[str, Place]) -> Tensor:
    """The radius of what the maps make of balls."""
    radius = torch.zeros_like(inputs[0].radius)
    for i, place in enumerate(inputs):
        radius = radius + _norms(step, i, place) * place.radius
    for behind in step.behind:
        start, middle = found[behind.start], found[behind.middle]
        radius = torch.minimum(radius, behind.norm * start.radius + behind.rest * middle.own_noise)
    return radius * UP_MANY


def _norms(step: Affine, index: int, place: Place) -> Tensor:
    """Of a map at each sample, where small enough: without the columns of what cannot move there."""
    map_, norm = step.maps[index], step.norms[index]
    norms = torch.full_like(place.radius, norm)
    moving = (place.largest > 0).flatten(1)
    if not isinstance(map_, Product) or map_.weight.ndim != 2 or map_.weight.numel() > LARGEST_MATRIX:
        return norms
    matrix = map_.weight if map_.left else map_.weight.T
    if matrix.shape[1] != moving.shape[1] or min(matrix.shape) > LARGEST_SIDE:
        return norms
    for i, row in enumerate(moving):
        if float(row.double().mean()) < MASKED:
            norms[i] = min(norm, matrix_norm(matrix[None, :, row]).upper if bool(row.any()) else 0.0)
    return norms * UP_MANY


def _noise(step: Affine, inputs: Sequence[Place], found: Mapping[str, Place], off: Tensor | None) -> Tensor:
    """What runtimes make of the deviations that they have made before, and of their own error."""
    total = torch.zeros_like(inputs[0].radius)
    for norm, place in zip(step.norms, inputs, strict=True):
        total = total + torch.where(place.noise > 0, norm * place.noise, 0.0)
    for behind in step.behind:
        start, middle = found[behind.start], found[behind.middle]
        total = torch.minimum(total, behind.norm * start.noise + behind.rest * middle.own_noise)
    return (total if off is None else total + length(off)) * UP_MANY


def _elementwise(step: Elementwise, place: Place, arithmetic: Arithmetic) -> Place:
    """A function of numbers in a box, by the ends of the lines that enclose it."""
    low, high = place.low, place.high
    enclosure = step.enclosure(low, high)
    centre = step.value(place.centre)
    least = _least(enclosure.lower, low, high)
    most = -_least(_negative(enclosure.upper), low, high)
    slopes = steepness(step, enclosure, low, high)
    steepest = torch.maximum(slopes[0].abs(), slopes[1].abs())
    noise = torch.zeros_like(centre) if step.error is None else step.error(place.centre, centre)
    reach = steepest * place.largest * UP_MANY + noise
    lower = torch.maximum(down(least - centre), -reach)
    upper = torch.minimum(up(most - centre), reach)
    off = None
    if not arithmetic.real and step.off is not None:
        off = step.off(arithmetic, low, high)
        lower, upper, noise = down(lower - off), up(upper + off), (noise + off) * UP_MANY
    own, gain = length(noise), steepest.flatten(1).amax(1)
    found = Place(
        centre=centre,
        lower=lower,
        upper=upper,
        radius=(gain * place.radius + own) * UP_MANY,
        own_noise=own,
        noise=(gain * place.noise + (0.0 if off is None else length(off))) * UP_MANY,
        off=off,
    )
    return found.rounded()


def _met(function: Piecewise, low: Tensor, high: Tensor) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Each piece, where it and the box meet, and whether they do."""
    knots: tuple[Coefficient, ...] = (-math.inf, *function.knots, math.inf)
    for k, (first, last) in enumerate(pairwise(knots)):
        start = torch.maximum(low, torch.as_tensor(first, dtype=low.dtype))
        stop = torch.minimum(high, torch.as_tensor(last, dtype=low.dtype))
        yield k, start, stop, start <= stop


def _least(function: Piecewise, low: Tensor, high: Tensor) -> Tensor:
    """Below all values between two ends, infinite where there is nothing between them."""
    least = torch.full_like(low, math.inf)
    for k, start, stop, met in _met(function, low, high):
        slope, intercept = function.slopes[k], function.intercepts[k]
        plain = not isinstance(slope, Tensor) and slope in {-1.0, 0.0, 1.0}
        exact = plain and not isinstance(intercept, Tensor) and 0.0 in {slope, intercept}
        for end in (start, stop):
            inside = torch.where(met, end, 0.0)
            product: Tensor = slope * inside
            value: Tensor = product + torch.as_tensor(intercept, dtype=low.dtype)
            if not exact:
                value = value - gamma(4) * (product.abs() + torch.as_tensor(intercept).abs()) - UNDERFLOW
            least = torch.where(met, torch.minimum(least, value), least)
    return least


def _negative(function: Piecewise) -> Piecewise:
    return replace(
        function,
        slopes=tuple(-slope for slope in function.slopes),
        intercepts=tuple(-intercept for intercept in function.intercepts),
    )


def steepness(step: Elementwise, enclosure: Enclosure, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Two numbers that all its slopes lie between where its arguments do, [n, *shape] each.

    Args:
        step: a function of numbers.
        enclosure: of it, between the two ends.
        low, high: the ends of the arguments, [n, *shape].
    """
    if not enclosure.exact:
        known = enclosure.slopes or (torch.full_like(low, -math.inf), torch.full_like(low, math.inf))
        return known[0].clamp_min(-step.lipschitz), known[1].clamp_max(step.lipschitz)
    least, most = torch.full_like(low, math.inf), torch.full_like(low, -math.inf)
    for k, _, _, met in _met(enclosure.lower, low, high):
        slope = torch.as_tensor(enclosure.lower.slopes[k], dtype=low.dtype)
        least = torch.where(met, torch.minimum(least, slope), least)
        most = torch.where(met, torch.maximum(most, slope), most)
    return least, most
