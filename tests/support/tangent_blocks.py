"""Movements and blocks of `tangent_nets`, and networks drawn from these and from `tangent_operators`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional

from tests.support.tangent_nets import Network, UnsuitableError, double, pads_of
from tests.support.tangent_operators import (
    CONVOLUTIONS,
    activation,
    averaged,
    convolution,
    largest,
    largest_of_all,
    matrix,
    mean_of_all,
    normalised,
    scaled,
    transposed,
)


def sliced(n: Network, x: str) -> str:
    """Some channels, and positions every so many."""
    window = n.windows[x] or ()
    ends, steps = [], []
    for axis, size in enumerate((n.channels[x], *window)):
        start = n.integer(0, min(2, size - 1))
        step = n.integer(1, 2) if axis else 1
        ends.append((start, n.integer(start + 1, size)) if n.chance(0.6) else (0, size))
        steps.append(step if ends[-1] != (0, size) else 1)
    axes = tuple(range(1, 1 + len(ends)))
    index = tuple(slice(a, b, s) for (a, b), s in zip(ends, steps, strict=True))
    constants = [[a for a, _ in ends], [b for _, b in ends], list(axes), steps]
    return n.add(
        "Slice", [x], [n.constant(np.array(c)) for c in constants], lambda t, _: [t[0][(slice(None), *index)]]
    )[0]


def padded(n: Network, x: str) -> str:
    """Zeros around, or entries cut off."""
    window = n.windows[x]
    if window is None:
        raise UnsuitableError
    around = [(n.integer(-1, 2), n.integer(-1, 2)) for _ in window]
    channels = (n.integer(-1, 1), n.integer(0, 1)) if n.chance(0.3) else (0, 0)
    pads = [(0, 0), channels, *around]
    if any(sum(p) + size < 1 for p, size in zip(pads[1:], n.shape(x), strict=True)):
        raise UnsuitableError
    flat = [p for pair in reversed(pads[1:]) for p in pair]
    values = n.constant(np.array(pads_of(pads)))
    return n.add("Pad", [x], [values], lambda tensors, _: [functional.pad(tensors[0], flat)])[0]


def halves(n: Network, x: str) -> str:
    """Split of channels, one part through an activation, and both together again, maybe swapped."""
    count = n.channels[x]
    if count < 2:
        raise UnsuitableError
    first = n.integer(1, count - 1)
    sizes = [first, count - first]
    parts = n.add(
        "Split", [x], [n.constant(np.array(sizes))], lambda t, _: list(t[0].split(sizes, 1)), 2, axis=1
    )
    parts[0] = activation(n, parts[0])
    if n.chance():
        parts.reverse()
    return joined(n, *parts)


def joined(n: Network, *parts: str) -> str:
    """Concat of channels."""
    return n.add("Concat", list(parts), [], lambda tensors, _: [torch.cat(list(tensors), 1)], axis=1)[0]


def sum_of(n: Network, x: str, y: str) -> str:
    """Add or Sub."""
    op = n.choice(("Add", "Add", "Sub"))
    return n.add(op, [x, y], [], lambda t, _: [t[0] + t[1] if op == "Add" else t[0] - t[1]])[0]


def residual(n: Network, x: str) -> str:
    """One or two convolutions, with or without an activation between, beside the identity or a projection."""
    y = convolution(n, x, plain=True)
    if n.chance(0.7):
        y = activation(n, y)
    if n.chance(0.6):
        y = convolution(n, y, out=n.channels[x], plain=True)
    if n.chance(0.3):
        y = activation(n, y)
    if n.shape(y) != n.shape(x) or n.chance(0.2):
        x = convolution(n, x, out=n.channels[y], plain=True)
    return sum_of(n, y, x)


def strided(n: Network, x: str, out: int, taps: int, stride: int = 2) -> str:
    """A convolution with a stride along each axis, centred."""
    axes = len(n.windows[x] or ())
    if not axes:
        raise UnsuitableError
    weight = n.normal(out, n.channels[x], *(taps,) * axes, scale=1 / math.sqrt(n.channels[x] * taps**axes))

    def step(tensors, _):
        return [CONVOLUTIONS[axes - 1](tensors[0], double(weight), None, stride, taps // 2)]

    attributes = {"strides": (stride,) * axes, "pads": (taps // 2,) * 2 * axes}
    return n.add("Conv", [x], [n.constant(weight)], step, **attributes)[0]


def downward(n: Network, x: str) -> str:
    """A block with a stride in both branches."""
    if min(n.windows[x] or (1,)) < 2:
        raise UnsuitableError
    out = n.integer(1, 3)
    y = strided(n, x, out, 3)
    if n.chance():
        y = convolution(n, activation(n, y), out=out, plain=True)
    return sum_of(n, y, strided(n, x, out, 1))


def joined_with(n: Network, x: str) -> str:
    """Two ways from one tensor, put together."""
    y = convolution(n, x, plain=True)
    if n.chance():
        y = activation(n, y)
    return joined(n, *((x, y) if n.chance() else (y, x)))


SPATIAL = (
    convolution, convolution, convolution, residual, residual, residual, downward, downward, joined_with,
    activation, activation, normalised, scaled, averaged, largest, sliced, padded, halves, transposed,
)  # fmt: skip
LATE = (matrix, mean_of_all, mean_of_all, largest_of_all)
DENSE = (matrix, matrix, activation, activation, normalised, scaled, sliced, halves)


def drawn(seed: int) -> Network:
    """A network of 1-3 axes or none, of 1 to about 8 blocks; each with an input or two, an output or more."""
    n = Network(seed=seed)
    n.rank = n.choice((0, 1, 1, 2, 2, 2, 3))
    sides = {1: (1, 7), 2: (1, 5), 3: (1, 3)}
    window = tuple(n.integer(*sides[n.rank]) for _ in range(n.rank)) if n.rank else None
    x = n.input(n.integer(1, 3), window)
    if n.chance(0.15):
        y = n.input(n.integer(1, 2), window)
        x = joined(n, x, y)
    kept: list[str] = []
    for _ in range(n.integer(1, 7)):
        x = _more(n, x, SPATIAL if n.windows[x] is not None else DENSE)
        if n.chance(0.1):
            kept.append(x)
        same = [name for name in kept if n.shape(name) == n.shape(x) and name != x]
        if same and n.chance(0.5):
            x = sum_of(n, x, n.choice(same))
    if n.windows[x] is not None and n.chance(0.5):
        x = _more(n, x, LATE)
    if n.chance(0.4):
        x = _more(n, x, (matrix,))
    n.outputs = [x]
    if not n.steps:
        n.outputs = [_more(n, x, (activation,))]
    if n.chance(0.15):
        n.outputs += [name for name in kept[:1] if name not in n.outputs and name not in n.inputs]
    return n


def _more(n: Network, x: str, operators: Sequence[Callable[[Network, str], str]]) -> str:
    for _ in range(20):
        before = len(n.nodes)
        try:
            return n.choice(operators)(n, x)
        except UnsuitableError:
            for _, names, _ in n.steps[before:]:  # the block was left half done
                for name in names:
                    for known in (n.windows, n.channels, n.slopes, n.choices):
                        known.pop(name, None)
            del n.nodes[before:], n.steps[before:]
    return x
