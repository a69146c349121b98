"""The matrix inequality that covariance propagation solves, in space: zero-padded windows, one dense matrix.

Every tensor is a linear map of x, the difference of the inputs, and of what activations and gains make, w.
With given multipliers, P = |x|^2 + sum of the constraints is a quadratic form in (x, w) that is at most
|x|^2 at all pairs of runs; where it is positive definite, L^2 = lambda_max(G P^-1 G^T) for the map G of the
outputs. A multiplier per channel is repeated over the positions. A recursion on a torus, where crops are
activations and what an upsampling makes of one frequency is taken apart, is above that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

import numpy as np

from convsv_cli.lipschitz.density.lowering.context import CROPPED
from convsv_cli.lipschitz.density.program import Program
from convsv_cli.lipschitz.density.steps import (
    Activation,
    Convolution,
    Field,
    Functional,
    Gain,
    Linear,
    Placement,
    Scaling,
)

Array = np.ndarray


class Dense:
    """Maps of (x, w) and the form P, step by step.

    Args:
        program: any.
        multipliers: by the index of the step, D of each gain, and of each activation: of its channels that
            are not linear, or of all entries of these.
        left: the index of the step from which on slopes need not include 0; None for never.
    """

    def __init__(self, program: Program, multipliers: Mapping[int, Array], left: int | None = None) -> None:
        self._program, self._multipliers, self._left = program, multipliers, left
        sizes = [_entries(program.fields[name]) for name in program.sources]
        count = sum(sizes) + sum(self._driven(index) for index in range(len(program.steps)))
        self.form = np.zeros((count, count))
        self.maps: dict[str, Array] = {}
        self._next = 0
        for name, size in zip(program.sources, sizes, strict=True):
            self.maps[name] = self._new(size)
            self.form += self.maps[name].T @ self.maps[name]
        for index, step in enumerate(program.steps):
            if isinstance(step, Linear):
                self._linear(step)
            elif isinstance(step, Activation):
                self._activation(index, step)
            elif isinstance(step, Gain):
                self._gain(index, step)
            else:
                self._functional(step)

    def bound(self) -> float:
        """The least that the multipliers prove of the outputs; infinite where they are infeasible."""
        ends = np.concatenate([self.maps[name] for name in self._program.outputs])
        try:
            factor = np.linalg.cholesky((self.form + self.form.T) / 2)
        except np.linalg.LinAlgError:
            return math.inf
        return float(np.linalg.norm(np.linalg.solve(factor, ends.T), 2))

    def _driven(self, index: int) -> int:
        step = self._program.steps[index]
        if isinstance(step, Activation) and not step.output.endswith(CROPPED):
            return int((step.upper > step.lower).sum()) * _positions(self._program.fields[step.output])
        return _entries(self._program.fields[step.output]) if isinstance(step, Gain) else 0

    def _new(self, size: int) -> Array:
        rows = np.zeros((size, len(self.form)))
        rows[:, self._next : self._next + size] = np.eye(size)
        self._next += size
        return rows

    def _linear(self, step: Linear) -> None:
        for output, terms in step.outputs.items():
            made = self._program.fields[output]
            self.maps[output] = sum(
                _matrix(part, self._program.fields[name], made) @ self.maps[name] for name, part in terms
            )

    def _activation(self, index: int, step: Activation) -> None:
        z, field = self.maps[step.source], self._program.fields[step.output]
        if step.output.endswith(CROPPED):
            self.maps[step.output] = z
            return
        lower, upper = self._slopes(index, step)
        positions = _positions(field)
        self.maps[step.output] = np.repeat(lower, positions)[:, None] * z
        active = np.repeat(upper > lower, positions)
        if not active.any():
            return
        driven = self._new(int(active.sum()))
        given = self._multipliers[index]
        weights = np.repeat(1 / given, int(active.sum()) // len(given))[:, None]
        form = 2 * driven.T @ (weights * (driven - z[active]))
        self.form += (form + form.T) / 2
        self.maps[step.output][active] += np.repeat(upper - lower, positions)[active][:, None] * driven

    def _slopes(self, index: int, step: Activation) -> tuple[Array, Array]:
        wide, inside = (
            (lower.numpy(), upper.numpy()) for lower, upper in ((step.lower, step.upper), step.inside)
        )
        alike = ((wide[0] < wide[1]) == (inside[0] < inside[1])).all()
        return inside if self._left is not None and index >= self._left and alike else wide

    def _gain(self, index: int, step: Gain) -> None:
        z, field = self.maps[step.source], self._program.fields[step.output]
        made = self.maps[step.output] = self._new(_entries(field))
        inverse = np.broadcast_to(1 / self._multipliers[index], (field.channels,))
        before = np.repeat(inverse * step.kappa.numpy(), _positions(self._program.fields[step.source]))
        after = np.repeat(inverse, _positions(field))
        self.form += made.T @ (after[:, None] * made) - z.T @ (before[:, None] * z)

    def _functional(self, step: Functional) -> None:
        kernel = step.kernel.numpy().reshape(*step.kernel.shape[:2], -1)
        if step.diagonal:
            kernel = np.einsum("op,oi->oip", kernel[:, 0], np.eye(len(kernel)))
        self.maps[step.output] = kernel.reshape(len(kernel), -1) @ self.maps[step.source]


def _positions(field: Field) -> int:
    return math.prod(field.window)


def _entries(field: Field) -> int:
    return field.channels * _positions(field)


def _matrix(part: object, source: Field, made: Field) -> Array:
    """A linear map of windows, with zeros around them: [entries made, entries of the source]."""
    if isinstance(part, Scaling):
        return np.diag(np.repeat(np.broadcast_to(part.factors.numpy(), source.channels), _positions(source)))
    if isinstance(part, Placement):
        places = np.zeros((made.channels, source.channels))
        places[part.targets.numpy(), part.sources.numpy()] = 1
        return np.kron(places, np.eye(_positions(source)))
    assert isinstance(part, Convolution)
    kernel = part.kernel.numpy()
    groups, rows, columns, *taps = kernel.shape
    found = np.zeros((groups, rows, *made.window, groups, columns, *source.window))
    stride = part.stride or (1,) * len(taps)
    loose, tight = (source.window, made.window) if part.transposed else (made.window, source.window)
    for place, tap in product(np.ndindex(*loose), np.ndindex(*taps)):
        reached = tuple(
            s * p + along[t] for s, p, along, t in zip(stride, place, part.offsets, tap, strict=True)
        )
        if all(0 <= r < n for r, n in zip(reached, tight, strict=True)):
            at, of = (reached, place) if part.transposed else (place, reached)
            for group in range(groups):
                index = (group, slice(None), *at, group, slice(None), *of)
                found[index] += kernel[(group, slice(None), slice(None), *tap)]
    return found.reshape(_entries(made), _entries(source))
