"""A box, a centre and an activation over flattened elements, and parts of them that fit in a cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product

import torch

from convsv_cli.local.pieces import Coefficient, Enclosure, Piecewise

CHUNK = 2**16
"""Elements that are worked on at once, so that what lies between two steps stays in the cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A line, and where its part of the function and the box meet.

    Attributes:
        knot: where it starts; minus infinity for the first. One number, or [batch or 1, 1, elements].
        slope, intercept: of the line; likewise.
        start, stop: [batch, 1, elements], as (t - centre) / scale; 0 where absent.
        absent: [batch, 1, elements], minus infinity where piece and box do not meet, and 0 where they do.
    """

    knot: Coefficient
    slope: Coefficient
    intercept: Coefficient
    start: torch.Tensor
    stop: torch.Tensor
    absent: torch.Tensor

    def at(self, t: torch.Tensor) -> Coefficient:
        """The line at t: of its shape [batch, rows or 1, elements], or one number."""
        if is_number(self.slope, 0.0):
            return self.intercept
        line = times(t, self.slope)
        return line if is_number(self.intercept, 0.0) else line + self.intercept

    def part(self, samples: slice, elements: slice) -> Piece:
        """Of some samples and elements."""
        knot, slope, intercept = (
            _cut(each, samples, elements) for each in (self.knot, self.slope, self.intercept)
        )
        start, stop, absent = (each[samples, :, elements] for each in (self.start, self.stop, self.absent))
        return Piece(knot=knot, slope=slope, intercept=intercept, start=start, stop=stop, absent=absent)


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """A box, a scaled distance from a centre, and an activation.

    Attributes:
        lower, upper, centre: [batch, 1, elements].
        scale: one number, or of a shape [batch or 1, 1, elements].
        sides: the pieces of the activation, or those of what is below it and those of what is above.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    centre: torch.Tensor
    scale: Coefficient
    sides: tuple[tuple[Piece, ...], ...]

    def part(self, samples: slice, elements: slice) -> Region:
        """Some samples and elements of it."""
        lower, upper, centre = (each[samples, :, elements] for each in (self.lower, self.upper, self.centre))
        return Region(
            lower=lower,
            upper=upper,
            centre=centre,
            scale=_cut(self.scale, samples, elements),
            sides=tuple(tuple(piece.part(samples, elements) for piece in side) for side in self.sides),
        )


def region_of(
    lower: torch.Tensor, upper: torch.Tensor, centre: torch.Tensor, scale: Coefficient, enclosure: Enclosure
) -> Region:
    """What `minimum` is over.

    Args:
        lower, upper: [batch, *shape]; may be infinite.
        centre: [batch, *shape], finite; may be outside of the box.
        scale: positive, one number or of a shape that broadcasts to [batch, *shape].
        enclosure: of the activation, on the box.
    """
    functions = (enclosure.lower,) if enclosure.exact else (enclosure.lower, enclosure.upper)
    box = Region(
        lower=lower.flatten(1)[:, None],
        upper=upper.flatten(1)[:, None],
        centre=centre.flatten(1)[:, None],
        scale=_flat(scale, centre),
        sides=(),
    )
    return replace(box, sides=tuple(tuple(_pieces(function, box, centre)) for function in functions))


def _pieces(function: Piecewise, box: Region, like: torch.Tensor) -> Iterator[Piece]:
    """Those of a function, in the box."""
    knots = (-math.inf, *(_flat(knot, like) for knot in function.knots), math.inf)
    for (first, last), slope, intercept in zip(
        pairwise(knots), function.slopes, function.intercepts, strict=True
    ):
        apart = (box.lower > last) | (box.upper < first)
        ends = box.lower.clamp(min=first), box.upper.clamp(max=last)
        start, stop = (over(end - box.centre, box.scale).masked_fill_(apart, 0.0) for end in ends)
        yield Piece(
            knot=first,
            slope=_flat(slope, like),
            intercept=_flat(intercept, like),
            start=start,
            stop=stop,
            absent=torch.zeros_like(start).masked_fill_(apart, -math.inf),
        )


def chunks(v: torch.Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Which samples, rows and elements are worked on together.

    Args:
        v: [batch, rows, elements].
    """
    batch, rows, elements = v.shape
    width = max(1, min(elements, CHUNK))
    height = max(1, min(rows, CHUNK // width))
    depth = max(1, min(batch, CHUNK // (width * height)))
    return product(_slices(batch, depth), _slices(rows, height), _slices(elements, width))


def is_number(coefficient: Coefficient, number: float) -> bool:
    """Whether it is that number for all elements, and known to be."""
    return not isinstance(coefficient, torch.Tensor) and coefficient == number


def times(t: torch.Tensor, coefficient: Coefficient) -> torch.Tensor:
    """The product; t itself where the other is known to be 1."""
    return t if is_number(coefficient, 1.0) else t * coefficient


def over(t: torch.Tensor, coefficient: Coefficient) -> torch.Tensor:
    """The quotient; t itself where the other is known to be 1."""
    return t if is_number(coefficient, 1.0) else t / coefficient


def select(here: torch.Tensor, there: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`there` where the mask is 1, and `here` where it is 0: exact, and many times as fast as `torch.where`.

    Args:
        here, there, mask: of one shape, [batch, rows, elements]; finite.
    """
    return torch.lerp(here, there, mask)


def above(t: torch.Tensor, limit: Coefficient) -> torch.Tensor:
    """1 where t is larger, and 0 elsewhere; of the shape of t, [batch, rows, elements]."""
    mask: torch.Tensor = torch.gt(t, limit, out=torch.empty_like(t))
    return mask


def _slices(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _flat(coefficient: Coefficient, like: torch.Tensor) -> Coefficient:
    """[batch or 1, 1, elements] from what broadcasts to [batch, *shape]."""
    if not isinstance(coefficient, torch.Tensor):
        return coefficient
    batch = coefficient.shape[0] if coefficient.ndim == like.ndim else 1
    full = coefficient.to(like.dtype).broadcast_to((batch, *like.shape[1:]))
    return full.flatten(1)[:, None]


def _cut(coefficient: Coefficient, samples: slice, elements: slice) -> Coefficient:
    if not isinstance(coefficient, torch.Tensor):
        return coefficient
    return coefficient[samples if len(coefficient) > 1 else slice(None), :, elements]
