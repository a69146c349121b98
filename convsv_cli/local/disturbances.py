"""What runtimes may be off in a direction of the logits, by an enclosure of the gradient.

A runtime computes each step with an error e_k. Over a box that holds both its tensors and those of real
arithmetic, a function of numbers changes by a slope between two of its slopes there (for one that is not
piecewise linear, between minus and plus its Lipschitz constant). So <c, output> is off by the sum of
<v_k, e_k>, where v_k is the gradient at the step's output for some such slopes: going backwards, it is kept
in a box around a middle, and in a ball, and each product is at most the smaller of what the two say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convsv_cli.local.places import Place, length
from convsv_cli.local.propagation import steepness
from convsv_cli.local.steps import Affine, Elementwise, Program
from convsv_cli.numerics.rounding import UP_MANY, gamma

UNDERFLOW = 1e-290
"""More than what all products that underflow can lose."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Gradient:
    """Where a gradient is, at each of some rows.

    Attributes:
        middle, width: [rows, *shape]: each entry is at most its width from the middle.
        radius: [rows]: at least its Euclidean norm.
    """

    middle: Tensor
    width: Tensor
    radius: Tensor

    @property
    def largest(self) -> Tensor:
        """Absolute values of entries, at most."""
        return (self.middle.abs() + self.width) * UP_MANY

    def tight(self) -> _Gradient:
        """With a ball no larger than the box needs."""
        return _Gradient(
            middle=self.middle,
            width=self.width,
            radius=torch.minimum(self.radius, length(self.largest)),
        )

    def __add__(self, other: _Gradient) -> _Gradient:
        middle = self.middle + other.middle
        width = self.width + other.width + gamma(4) * (middle.abs() + self.width + other.width)
        return _Gradient(middle=middle, width=width, radius=(self.radius + other.radius) * UP_MANY).tight()


@torch.no_grad()
def disturbance(program: Program, found: Mapping[str, Place], sample: Tensor, direction: Tensor) -> Tensor:
    """Upper bounds of |<direction, logits of a runtime less logits>|, anywhere in a ball: float64 [rows].

    Args:
        program: in float64.
        found: where its tensors are at samples, in the arithmetic of the runtime.
        sample: int64 [rows].
        direction: float64 [rows, *shape of the output], of numbers that are exact.
    """
    nothing = torch.zeros_like(direction)
    gradients = {program.output: _Gradient(middle=direction, width=nothing, radius=length(direction))}
    total = direction.new_zeros(len(direction))
    for step in reversed(program.steps):
        gradient = gradients.pop(step.output, None)
        if gradient is None:
            continue
        total = total + _cost(gradient, found[step.output].off, sample)
        if isinstance(step, Affine):
            before = _affine(step, gradient)
        else:
            before = [(step.input, _bent(step, gradient, found[step.input], sample))]
        for name, each in before:
            gradients[name] = gradients[name] + each if name in gradients else each
    if program.source in gradients:
        total = total + _cost(gradients[program.source], found[program.source].off, sample)
    total = total * UP_MANY + UNDERFLOW
    return torch.where(total.isnan(), torch.inf, total)


def _cost(gradient: _Gradient, off: Tensor | None, sample: Tensor) -> Tensor:
    """Of errors up to `off`, at the tensor that the gradient is of."""
    if off is None:
        return torch.zeros_like(gradient.radius)
    products = (gradient.largest * off[sample]).flatten(1)
    by_box = products.sum(1) * (1 + gamma(products.shape[1] + 8))
    return torch.minimum(by_box, gradient.radius * length(off)[sample] * UP_MANY)


def _affine(step: Affine, gradient: _Gradient) -> list[tuple[str, _Gradient]]:
    found = []
    for name, map_, norm in zip(step.inputs, step.maps, step.norms, strict=True):
        loss = gamma(map_.roundings + 8)
        width = map_.absolute.adjoint(gradient.width + loss * gradient.largest)
        before = _Gradient(
            middle=map_.adjoint(gradient.middle),
            width=width * ((1 + loss) * UP_MANY) + UNDERFLOW,
            radius=norm * gradient.radius * UP_MANY,
        )
        found.append((name, before.tight()))
    return found


def _bent(step: Elementwise, gradient: _Gradient, place: Place, sample: Tensor) -> _Gradient:
    """Times a slope between two numbers each: between the least and the largest of four products."""
    low, high = place.low, place.high
    slopes = [ends[sample] for ends in steepness(step, step.enclosure(low, high), low, high)]
    ends = gradient.middle - gradient.width, gradient.middle + gradient.width
    products = torch.stack([end * slope for end in ends for slope in slopes])
    first, last = products.amin(0), products.amax(0)
    rounding = gamma(8) * gradient.largest * torch.maximum(slopes[0].abs(), slopes[1].abs())
    gain = torch.maximum(slopes[0].abs(), slopes[1].abs()).flatten(1).amax(1)
    before = _Gradient(
        middle=(first + last) / 2,
        width=((last - first) / 2 + rounding) * UP_MANY + UNDERFLOW,
        radius=gain * gradient.radius * UP_MANY,
    )
    return before.tight()
