"""Steps in order, with what is planned before anything is computed: tori, and when a field is dead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import torch

from convsv_cli.lipschitz.density.steps import Activation, Field, Functional, Linear, Step
from convsv_cli.lipschitz.density.torus import Torus, torus

Scale = tuple[Fraction, ...]


class UnplannedError(Exception):
    """Fields of incompatible grids meet."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """What leads from some fields to others.

    Attributes:
        steps: in order.
        fields: by name.
        sources: where the covariance is the identity.
        outputs: of which the largest eigenvalue is asked for.
    """

    steps: tuple[Step, ...]
    fields: Mapping[str, Field]
    sources: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def tori(self) -> Mapping[str, Torus]:
        """The torus of each field.

        Raises:
            UnplannedError: there is none.
        """
        found: dict[str, Torus] = {}
        for scales in _components(self):
            for name, sizes in _sizes(scales, self.fields).items():
                found[name] = torus(sizes)
        return found

    @cached_property
    def live(self) -> tuple[frozenset[str], ...]:
        """The fields that some later step, or the reader of the result, needs: after each step."""
        needed = frozenset(self.outputs)
        found = []
        for step in reversed(self.steps):
            found.append(needed)
            needed = (needed - frozenset(results(step))) | frozenset(sources(step))
        return tuple(reversed(found))

    def shrunk(self, largest: int) -> Program:
        """The same with windows of about `largest` positions per axis at most: only to choose multipliers."""
        longest = max((n for field in self.fields.values() for n in field.window), default=1)
        if longest <= largest:
            return self
        share = largest / longest
        fields = {name: _shrunk(field, share) for name, field in self.fields.items()}
        steps = tuple(
            replace(step, kernel=_resampled(step.kernel, fields[step.source].window))
            if isinstance(step, Functional)
            else step
            for step in self.steps
        )
        return replace(self, fields=fields, steps=steps)


def sources(step: Step) -> tuple[str, ...]:
    """The fields that a step needs."""
    return step.inputs if isinstance(step, Linear) else (step.source,)


def results(step: Step) -> tuple[str, ...]:
    """The fields that a step gives."""
    return tuple(step.outputs) if isinstance(step, Linear) else (step.output,)


def _shrunk(field: Field, share: float) -> Field:
    window = tuple(max(1, math.ceil(n * share - 1e-9)) for n in field.window)
    reach = tuple(
        n + more - before for n, more, before in zip(window, field.reach, field.window, strict=True)
    )
    return replace(field, window=window, reach=reach)


def _resampled(kernel: torch.Tensor, window: tuple[int, ...]) -> torch.Tensor:
    """Sums over blocks of positions: like the kernel for what varies slowly."""
    for axis, size in enumerate(window, 2):
        pieces = torch.tensor_split(kernel, size, axis)
        kernel = torch.stack([piece.sum(axis) for piece in pieces], axis)
    return kernel


def _components(program: Program) -> Iterator[dict[str, Scale]]:
    """Fields that share a torus, each with the positions of its torus relative to the first one's."""
    edges: dict[str, list[tuple[str, Scale]]] = {name: [] for name in program.fields}
    for step in program.steps:
        for one, other, scale in _ratios(step, program.fields):
            edges[one].append((other, scale))
            edges[other].append((one, tuple(1 / each for each in scale)))
    seen: set[str] = set()
    for name, field in program.fields.items():
        if name in seen:
            continue
        scales: dict[str, Scale] = {name: (Fraction(1),) * len(field.window)}
        queue = [name]
        while queue:
            one = queue.pop()
            for other, ratio in edges[one]:
                scale = tuple(a * b for a, b in zip(scales[one], ratio, strict=True))
                if scales.setdefault(other, scale) != scale:
                    raise UnplannedError
                if other not in seen:
                    seen.add(other)
                    queue.append(other)
        seen.update(scales)
        yield scales


def _ratios(step: Step, fields: Mapping[str, Field]) -> Iterator[tuple[str, str, Scale]]:
    """Pairs of fields, and the positions of the second's torus relative to the first's."""
    if isinstance(step, Linear):
        for output, terms in step.outputs.items():
            for name, _ in terms:
                stride = step.stride or (1,) * len(fields[output].window)
                yield name, output, tuple(Fraction(s) if step.upward else Fraction(1, s) for s in stride)
    elif isinstance(step, Activation):
        yield step.source, step.output, (Fraction(1),) * len(fields[step.output].window)


def _sizes(scales: Mapping[str, Scale], fields: Mapping[str, Field]) -> dict[str, tuple[int, ...]]:
    """The least tori that all reaches fit into, in whole multiples."""
    rank = len(next(iter(scales.values())))
    if any(len(scale) != rank or len(fields[name].reach) != rank for name, scale in scales.items()):
        raise UnplannedError
    units = []
    for axis in range(rank):
        parts = {name: scale[axis] for name, scale in scales.items()}
        whole = math.lcm(*(part.denominator for part in parts.values()))
        common = math.gcd(*(int(part * whole) for part in parts.values()))
        multiples = {name: int(part * whole) // common for name, part in parts.items()}
        base = max(-(-fields[name].reach[axis] // multiple) for name, multiple in multiples.items())
        units.append({name: base * multiple for name, multiple in multiples.items()})
    return {name: tuple(unit[name] for unit in units) for name in scales}
