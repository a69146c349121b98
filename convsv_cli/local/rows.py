"""What backward bounds are asked for: directions of a network's output at samples, many at once.

A row is a direction at a sample. The samples' places are gathered for each row, so that rows can be dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from convsv_cli.local.pieces import Coefficient, Enclosure, Piecewise
from convsv_cli.local.places import Place
from convsv_cli.local.region import Region, region_of
from convsv_cli.local.steps import Program


@dataclass(frozen=True, kw_only=True, eq=False)
class Around:
    """What is known of the input of a function of numbers, at each of some rows.

    Attributes:
        lower, upper: the box, [n, *shape].
        centre: [n, *shape].
        radius: [n].
        enclosure: of the function, in the box.
    """

    lower: Tensor
    upper: Tensor
    centre: Tensor
    radius: Tensor
    enclosure: Enclosure

    @cached_property
    def region(self) -> Region:
        """The same, as the dual takes it."""
        return region_of(self.lower, self.upper, self.centre, 1.0, self.enclosure)

    def take(self, rows: Tensor) -> Around:
        """Some rows, in any order and as often as asked."""
        lower, upper, centre, radius = (
            each[rows] for each in (self.lower, self.upper, self.centre, self.radius)
        )
        enclosure = _rows_of(self.enclosure, rows, self.lower.ndim)
        return Around(lower=lower, upper=upper, centre=centre, radius=radius, enclosure=enclosure)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Directions at samples.

    Attributes:
        program: of the type of the tensors.
        direction: [n, *shape of the output].
        x: the centres of the balls, [n, *shape of the input].
        radius: of the balls, [n].
        around: what is known of the input of each function of numbers of the program, in order.
        sample: int64 [n], of `magnitudes`.
        magnitudes: the largest absolute values of tensors, [samples, *shape], by name; a search needs none.
        off: how far runtimes may be off at tensors, likewise.
    """

    program: Program
    direction: Tensor
    x: Tensor
    radius: Tensor
    around: tuple[Around, ...]
    sample: Tensor
    magnitudes: Mapping[str, Tensor] = field(default_factory=dict)
    off: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.direction)

    def take(self, rows: Tensor) -> Rows:
        """Some of them."""
        return replace(
            self,
            direction=self.direction[rows],
            x=self.x[rows],
            radius=self.radius[rows],
            around=tuple(each.take(rows) for each in self.around),
            sample=self.sample[rows],
        )

    def magnitude(self, name: str) -> Tensor:
        """The largest absolute values of a tensor, [n, *shape]."""
        return self.magnitudes[name][self.sample]


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Where the tensors of a network are, at some samples, as rows need it.

    Attributes:
        program: of the type of the tensors.
        x, radius: as of `Rows`, of samples.
        around: as of `Rows`, of samples.
        magnitudes, off: as of `Rows`.
    """

    program: Program
    x: Tensor
    radius: Tensor
    around: tuple[Around, ...]
    magnitudes: Mapping[str, Tensor]
    off: Mapping[str, Tensor]

    def rows(self, sample: Tensor, direction: Tensor) -> Rows:
        """Directions at samples.

        Args:
            sample: int64 [n].
            direction: [n, *shape of the output], of any type.
        """
        return Rows(
            program=self.program,
            direction=direction.to(self.x.dtype),
            x=self.x[sample],
            radius=self.radius[sample],
            around=tuple(each.take(sample) for each in self.around),
            sample=sample,
            magnitudes=self.magnitudes,
            off=self.off,
        )


def samples_of(program: Program, found: Mapping[str, Place]) -> Samples:
    """What rows need of the places of tensors.

    Args:
        program: its type is that of the result: float64, or float32 for a search.
        found: the places of its tensors, in float64.
    """
    source, dtype = found[program.source], program.dtype
    double = dtype == torch.float64
    return Samples(
        program=program,
        x=source.centre.to(dtype),
        radius=source.radius.to(dtype),
        around=tuple(_around(program, i, found, dtype) for i in range(len(program.activations))),
        magnitudes={name: place.magnitude for name, place in found.items()} if double else {},
        off={name: place.off for name, place in found.items() if place.off is not None} if double else {},
    )


def _around(program: Program, index: int, found: Mapping[str, Place], dtype: torch.dtype) -> Around:
    step = program.activations[index]
    place = found[step.input]
    low, high = place.low, place.high
    return Around(
        lower=low.to(dtype),
        upper=high.to(dtype),
        centre=place.centre.to(dtype),
        radius=place.radius.to(dtype),
        enclosure=_changed(step.enclosure(low, high), lambda each: each.to(dtype)),
    )


def _rows_of(enclosure: Enclosure, rows: Tensor, axes: int) -> Enclosure:
    """Those coefficients that differ between samples, of some of these."""

    def cut(each: Tensor) -> Tensor:
        return each[rows] if each.ndim == axes and len(each) > 1 else each

    return _changed(enclosure, cut)


def _changed(enclosure: Enclosure, change: Callable[[Tensor], Tensor]) -> Enclosure:
    """All coefficients that are tensors, changed."""

    def each(coefficients: Sequence[Coefficient]) -> tuple[Coefficient, ...]:
        return tuple(change(one) if isinstance(one, Tensor) else one for one in coefficients)

    def side(function: Piecewise) -> Piecewise:
        return Piecewise(
            knots=each(function.knots),
            slopes=each(function.slopes),
            intercepts=each(function.intercepts),
        )

    lower = side(enclosure.lower)
    return Enclosure(lower=lower, upper=lower if enclosure.exact else side(enclosure.upper))
