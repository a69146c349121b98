"""A box, a centre and an activation over flattened elements, and parts of them that fit in a cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import torch

from convsv_cli.local.pieces import Coefficient, Enclosure, Piecewise

CHUNK = 2**15
"""Elements that are worked on at once, so that what lies between two steps stays in the cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """A piecewise linear function.

    Attributes:
        knots, slopes, intercepts: as in `Piecewise`, each one number or of a shape [batch or 1, 1, elements].
    """

    knots: tuple[Coefficient, ...]
    slopes: tuple[Coefficient, ...]
    intercepts: tuple[Coefficient, ...]

    def line(self, k: int, t: torch.Tensor) -> Coefficient:
        """That of piece k at t: of its shape [batch, rows or 1, elements], or one number."""
        slope, intercept = self.slopes[k], self.intercepts[k]
        if is_number(slope, 0.0):
            return intercept
        line = times(t, slope)
        return line if is_number(intercept, 0.0) else line + intercept

    def at(self, t: torch.Tensor) -> torch.Tensor:
        """The function's values, [batch, rows, elements] like t."""
        values = self.line(0, t)
        for k, knot in enumerate(self.knots, start=1):
            values = torch.where(t > knot, self.line(k, t), values)
        return torch.as_tensor(values, dtype=t.dtype).expand_as(t)

    def ends(self, region: Region) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Where each piece and the box meet, as (t - centre) / scale; both infinity where they do not.

        Args:
            region: the box.

        Yields:
            [batch, 1, elements] each.
        """
        for first, last in pairwise((-math.inf, *self.knots, math.inf)):
            apart = (region.lower > last) | (region.upper < first)
            for_each = (region.lower.clamp(min=first), region.upper.clamp(max=last))
            start, stop = (over(end - region.centre, region.scale) for end in for_each)
            yield start.masked_fill_(apart, math.inf), stop.masked_fill_(apart, math.inf)

    def part(self, samples: slice, elements: slice) -> Side:
        """Of some samples and elements."""
        knots, slopes, intercepts = (
            tuple(_cut(each, samples, elements) for each in coefficients)
            for coefficients in (self.knots, self.slopes, self.intercepts)
        )
        return Side(knots=knots, slopes=slopes, intercepts=intercepts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """A box, a scaled distance from a centre, and an activation.

    Attributes:
        lower, upper, centre: [batch, 1, elements].
        scale: one number, or of a shape [batch or 1, 1, elements].
        sides: the activation, or what is below it and what is above.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    centre: torch.Tensor
    scale: Coefficient
    sides: tuple[Side, ...]

    def part(self, samples: slice, elements: slice) -> Region:
        """Some samples and elements of it."""
        return Region(
            lower=self.lower[samples, :, elements],
            upper=self.upper[samples, :, elements],
            centre=self.centre[samples, :, elements],
            scale=_cut(self.scale, samples, elements),
            sides=tuple(side.part(samples, elements) for side in self.sides),
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
    return Region(
        lower=lower.flatten(1)[:, None],
        upper=upper.flatten(1)[:, None],
        centre=centre.flatten(1)[:, None],
        scale=_flat(scale, centre),
        sides=tuple(_side(function, centre) for function in functions),
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


def _slices(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _side(function: Piecewise, like: torch.Tensor) -> Side:
    knots, slopes, intercepts = (
        tuple(_flat(each, like) for each in coefficients)
        for coefficients in (function.knots, function.slopes, function.intercepts)
    )
    return Side(knots=knots, slopes=slopes, intercepts=intercepts)


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
