"""Covariances at frequencies with sixty digits: what floating-point proofs have to be above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import torch
from mpmath import mp

from convsv_cli.lipschitz.density.program import Program
from convsv_cli.lipschitz.density.steps import Activation, Convolution, Linear, LinearPart, Scaling

DIGITS = 60
Matrix = object
"""Of mpmath."""
mp.dps = DIGITS


def exact(values: torch.Tensor | np.ndarray) -> Matrix:
    """A matrix of floats, as it is."""
    array = values.detach().numpy() if isinstance(values, torch.Tensor) else values
    return mp.matrix([[mp.mpc(complex(x)) for x in row] for row in array])


def excess(proven: torch.Tensor, needed: Matrix, factor: float = 1.0) -> float:
    """The least eigenvalue of what was proven less what had to be: not negative for a proof."""
    difference = exact(proven) * mp.mpf(factor) - needed
    return float(min(mp.eighe((difference + difference.H) / 2, eigvals_only=True)))


def wave(turns: Sequence[int], sizes: Sequence[int], offset: Sequence[int]) -> Matrix:
    """Exp(i omega offset) at omega = 2 pi turns / sizes."""
    angle = sum((mp.mpf(2 * t * o) / n for t, o, n in zip(turns, offset, sizes, strict=True)), mp.mpf(0))
    return mp.expjpi(angle)


def symbol_at(part: LinearPart, turns: Sequence[int], sizes: Sequence[int], channels: int) -> Matrix:
    """A linear map of so many channels at a frequency."""
    if isinstance(part, Scaling):
        return mp.diag([mp.mpf(float(f)) for f in part.factors.expand(channels)])
    assert isinstance(part, Convolution)
    kernel = part.kernel.numpy()
    groups, rows, columns, *taps = kernel.shape
    found = mp.zeros(groups * rows, groups * columns)
    sign = -1 if part.transposed else 1
    for tap in product(*(range(t) for t in taps)):
        offset = [sign * along[t] for along, t in zip(part.offsets, tap, strict=True)]
        phase = wave(turns, sizes, offset)
        for g, o, i in product(range(groups), range(rows), range(columns)):
            found[g * rows + o, g * columns + i] += mp.mpf(float(kernel[(g, o, i, *tap)])) * phase
    return found


def end_of(program: Program, multipliers: Mapping[int, np.ndarray], turns: Sequence[int]) -> Matrix:
    """The covariance of the output at a frequency, G P^-1 G*, without strides, gains and functionals."""
    fields = program.fields
    driven = [len(multipliers.get(index, ())) for index in range(len(program.steps))]
    count = sum(fields[name].channels for name in program.sources) + sum(driven)
    form, maps, at = mp.zeros(count), {}, 0

    def new(size: int) -> Matrix:
        nonlocal at
        rows = mp.zeros(size, count)
        for i in range(size):
            rows[i, at + i] = 1
        at += size
        return rows

    for name in program.sources:
        maps[name] = new(fields[name].channels)
        form += maps[name].T * maps[name]
    for index, step in enumerate(program.steps):
        if isinstance(step, Linear):
            for output, terms in step.outputs.items():
                parts = [
                    symbol_at(part, turns, program.tori[name].sizes, fields[name].channels) * maps[name]
                    for name, part in terms
                ]
                maps[output] = sum(parts[1:], parts[0])
            continue
        assert isinstance(step, Activation)
        z, made = maps[step.source], new(driven[index])
        lower, upper = ([mp.mpf(float(x)) for x in ends] for ends in (step.lower, step.upper))
        inverse = mp.diag([1 / mp.mpf(float(d)) for d in multipliers[index]])
        constraint = made.T * inverse * (made - z)
        form += constraint + constraint.H
        width = mp.diag([u - low for u, low in zip(upper, lower, strict=True)])
        maps[step.output] = mp.diag(lower) * z + width * made
    (output,) = program.outputs
    return maps[output] * mp.inverse(form) * maps[output].H
