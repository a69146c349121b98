"""Leaving the torus: each entry of a window becomes a channel, with exact zero padding and a multiplier.

That costs the cube of the number of entries, so it is for late stages and small networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.multipliers import Multiplier, spread
from convsv_cli.lipschitz.density.program import Program, results, sources
from convsv_cli.lipschitz.density.sizes import size
from convsv_cli.lipschitz.density.steps import (
    Activation,
    Convolution,
    Field,
    Functional,
    Gain,
    Linear,
    LinearPart,
    Placement,
    Scaling,
    Step,
    Windowed,
)
from convsv_cli.lipschitz.density.torus import Torus
from convsv_cli.numerics.rounding import gamma, up

MOST_ENTRIES = 2**13
"""Of a field that leaves the torus, and of each after it."""
MOST_AXES = 3
"""Of a window: torch convolves no more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Switch:
    """Where a program leaves its tori.

    Attributes:
        first: index of the first step after that.
        program: from there on, entry by entry.
        positions: of the source of each of its activations, by index in it.
    """

    first: int
    program: Program
    positions: Mapping[int, int]

    def own(self, multipliers: Mapping[int, Multiplier], index: int, variance: torch.Tensor) -> Multiplier:
        """The multiplier of a step: that of its channel, shaped within that as what needs no search is.

        Args:
            multipliers: those on the torus, by step of the whole program.
            index: of the step in `program`.
            variance: V, [1, entries, entries].
        """
        count, common = self.positions[index], multipliers[self.first + index]
        shape = common.shape.repeat_interleave(count)
        if count > 1:
            within = spread(variance).reshape(-1, count)
            shape = shape + (within - within.mean(1, keepdim=True)).flatten()
        return Multiplier(shape=shape, ratio=common.ratio)


def switches(program: Program) -> Iterator[Switch]:
    """All places where one field is live and what follows has a form entry by entry, the first ones first.

    Args:
        program: on tori.
    """
    for index in range(len(program.steps)):
        live = program.sources if index == 0 else tuple(program.live[index - 1])
        if len(live) != 1 or not program.fields[live[0]].window:
            continue
        found = windowed(program, index)
        if found is not None:
            positions = {
                i: math.prod(program.fields[step.source].window)
                for i, step in enumerate(program.steps[index:])
                if isinstance(step, Activation)
            }
            if not positions:  # no multipliers, so nothing to gain
                return
            yield Switch(first=index, program=found, positions=positions)


def windowed(program: Program, first: int) -> Program | None:
    """What a program does from a step on, entry by entry; None where that has no form, or is too large.

    Args:
        program: on tori.
        first: index of a step before which one field is live, or 0.
    """
    steps = program.steps[first:]
    if any(isinstance(step, Gain) or (isinstance(step, Linear) and step.upward) for step in steps):
        return None
    starts = program.sources if first == 0 else tuple(program.live[first - 1])
    used = {*starts, *program.outputs, *(name for step in steps for name in (*sources(step), *results(step)))}
    fields = {name: Field(channels=entries(program.fields[name])) for name in used}
    if max(field.channels for field in fields.values()) > MOST_ENTRIES:
        return None
    if max(len(program.fields[name].window) for name in used) > MOST_AXES:
        return None
    flat = tuple(_flat(step, program.fields) for step in steps)
    return Program(steps=flat, fields=fields, sources=starts, outputs=program.outputs)


def entries(field: Field) -> int:
    """Channels times positions."""
    return field.channels * math.prod(field.window)


def _flat(step: Step, fields: Mapping[str, Field]) -> Step:
    if isinstance(step, Linear):
        outputs = {
            output: tuple((name, _flat_part(part, fields[name], fields[output])) for name, part in terms)
            for output, terms in step.outputs.items()
        }
        return Linear(outputs=outputs)
    if isinstance(step, Functional):
        kernel = step.kernel.flatten(1)
        if step.diagonal:
            kernel = torch.block_diag(*kernel[:, None])  # type: ignore[no-untyped-call]
        part = Convolution(kernel=kernel[None], error=step.error)
        return Linear(outputs={step.output: ((step.source, part),)})
    assert isinstance(step, Activation)  # noqa: S101 - gains are not flattened
    count = math.prod(fields[step.source].window)
    lower, upper = step.inside
    if bool((lower == upper).all()):  # a crop, of what is nothing else now
        factors = lower.repeat_interleave(count)
        return Linear(outputs={step.output: ((step.source, Scaling(factors=factors)),)})
    if not torch.equal(
        upper > lower, step.upper > step.lower
    ):  # then the multipliers are not of the same channels
        lower, upper = step.lower, step.upper
    lower, upper = lower.repeat_interleave(count), upper.repeat_interleave(count)
    return replace(step, lower=lower, upper=upper, inside=(lower, upper))


def _flat_part(part: LinearPart, source: Field, target: Field) -> LinearPart:
    count = math.prod(source.window)
    if isinstance(part, Convolution) and source.window:
        return Windowed(convolution=part, source=source.window, target=target.window)
    if isinstance(part, Scaling) and len(part.factors) > 1:
        return replace(part, factors=part.factors.repeat_interleave(count))
    if isinstance(part, Placement):
        within = torch.arange(count)
        old, new = ((index[:, None] * count + within).flatten() for index in (part.sources, part.targets))
        return Placement(sources=old, targets=new, channels=part.channels * count)
    return part


def restricted(covariance: Covariance, field: Field, on: Torus) -> Covariance:
    """The covariance of all entries of a window, from that of its one field on a torus.

    Positions p and q vary together by the mean over all frequencies of X(omega) exp(i omega (p - q)). The
    principal submatrix of the window is valid whatever is outside it.

    Args:
        covariance: of the field.
        field: its channels and window.
        on: its torus.

    Raises:
        InfeasibleError: numbers are too large, or too small, for a proof.
    """
    plain = covariance.multiplied_out()
    (name,) = plain.fields
    block = plain.blocks[name, name]
    count = math.prod(field.window)
    if len(block) == 1:
        whole = torch.kron(block[0].real.contiguous(), torch.eye(count, dtype=block.real.dtype))
        return replace(plain, blocks={(name, name): whole[None]})
    lags, error = _lags(block, field.window, on)
    index = _differences(field.window)
    whole = lags[index].permute(2, 0, 3, 1).reshape(count * field.channels, count * field.channels)
    whole = (whole + whole.mT) / 2
    found = replace(plain, blocks={(name, name): whole[None]})
    return found.absorbing({(name, name): error * count})


def _lags(block: torch.Tensor, window: tuple[int, ...], on: Torus) -> tuple[torch.Tensor, float]:
    """The covariance at each lag, 1 - n to n - 1 along each axis, [lags, c, c], and a bound of its error."""
    offsets = tuple(tuple(range(1 - n, n)) for n in window)
    phases = on.phases(offsets)
    weights = (on.weights / on.positions).to(block.real.dtype)
    waves = phases[0]
    for phase in phases[1:]:
        waves = (waves[:, :, None] * phase[:, None]).flatten(1)
    waves = waves * weights[:, None]
    flat = block.flatten(1)
    lags = waves.real.to(weights.dtype).mT @ flat.real
    if block.is_complex():
        lags = lags - waves.imag.to(weights.dtype).mT @ flat.imag
    error = gamma(4 * len(block) + 64) * 2 * size(block) * up(8)
    return lags.reshape(-1, *block.shape[1:]), error


def _differences(window: tuple[int, ...]) -> torch.Tensor:
    """Which lag two positions have, by their indices: int64 [positions, positions]."""
    axes = [torch.arange(n) for n in window]
    places = torch.cartesian_prod(*axes).reshape(-1, len(window))
    lags = places[:, None] - places[None] + torch.tensor([n - 1 for n in window])
    index = torch.zeros_like(lags[..., 0])
    for axis, n in enumerate(window):
        index = index * (2 * n - 1) + lags[..., axis]
    return index
