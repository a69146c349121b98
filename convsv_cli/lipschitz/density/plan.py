"""What a pass over a program costs, and where it is made coarser because the full state would cost too much.

Two things make a state cheaper, and its bound larger: fields that are live beside the one that is worked on
leave its group (`splits`), and a covariance that varies over frequencies gives way to one above it that does
not (`levels`). Both are chosen step by step, where a step would cost more than it may.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from convsv_cli import limits
from convsv_cli.lipschitz.density.program import Program, results, sources
from convsv_cli.lipschitz.density.steps import Convolution, Functional, Gain, Linear, Step

OVERHEAD = 1e6
"""Multiplications that take as long as what a step does besides, on a fast machine."""
CALLS = 1.4e7
"""Further ones in that time, at the rate of large products."""
MOVED = 60
"""Multiplications in the time in which a number that a step holds is read and written."""
NUMBER, SAVED = 32, 40
"""Bytes for a number that a step holds, and for one that is kept for derivatives."""
COMPLEX = 4
ROOM = 2**27
"""Numbers that the blocks of a step may hold: 2 GB of complex ones."""
MOST_ROOM = 2
"""How many times as many the blocks or the maps of a step may hold however coarse they are."""
MOST_FREQUENCIES = 2**20
"""Of a torus: what is done for each of them takes its time however few channels there are."""
COARSER = 4.0
"""By how much less a step may cost each time that a whole pass costs too much."""
COARSEST = 1e8
AGAIN = 2e6
"""Multiplications in the time in which a step is planned once more."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a program is run.

    Attributes:
        splits: indices of steps before which the fields that it does not need leave its group.
        levels: indices of steps before which its group is made constant over frequencies.
        work: multiplications of a pass, roughly.
        room: the numbers that the blocks or the maps of a step hold, of the step that needs most.
        frequencies: of the largest torus.
        kept: the numbers that the blocks of all steps hold.
        steps: how many there are.
    """

    splits: frozenset[int] = frozenset()
    levels: frozenset[int] = frozenset()
    work: float = 0.0
    room: float = 0.0
    frequencies: int = 1
    kept: float = 0.0
    steps: int = 0

    @property
    def cost(self) -> float:
        """Multiplications of a pass, and what takes as long as them."""
        return self.work + CALLS * self.steps + MOVED * self.kept

    def fits(self, most: float, room: float = ROOM) -> bool:
        """Whether it keeps within the limits: of work, so many multiplications; of room, as of `planned`."""
        room = MOST_ROOM * min(room, limits.room() / NUMBER)
        return self.work <= most and self.room <= room and self.frequencies <= MOST_FREQUENCIES


@dataclass
class _Group:
    """Fields that vary together, and whether that depends on frequency."""

    fields: set[str] = field(default_factory=set)
    varies: bool = False


def planned(program: Program, most: float = math.inf, room: float = ROOM) -> Plan:
    """The finest plan of a program that keeps within limits; where none does, the coarsest.

    Args:
        program: with tori.
        most: multiplications that a pass may cost.
        room: numbers that the blocks of a step may hold.
    """
    limit = most
    while True:
        last = limit < COARSEST
        plan = _Planner(program, limit, room).plan(math.inf if last else most)
        if plan.work <= most or last:
            return plan
        limit /= COARSER
        limits.searched(AGAIN * plan.steps)


class _Planner:
    def __init__(self, program: Program, most: float, room: float) -> None:
        self._program, self._most, self._tori = program, most, program.tori
        self._groups = [_Group(fields={name}) for name in program.sources]
        self._splits: set[int] = set()
        self._levels: set[int] = set()
        self._work = self._room = self._kept = 0.0
        self._most_room = min(room, limits.room() / NUMBER)

    def plan(self, most: float) -> Plan:
        """The whole plan, unless a pass over what comes first costs more than `most` already."""
        for index, step in enumerate(self._program.steps):
            if self._work > most:
                break
            self._step(index, step)
        splits, levels = frozenset(self._splits), frozenset(self._levels)
        frequencies = max((torus.count for torus in self._tori.values()), default=1)
        return Plan(
            splits=splits,
            levels=levels,
            work=self._work,
            room=self._room,
            frequencies=frequencies,
            kept=self._kept,
            steps=len(self._program.steps),
        )

    def _step(self, index: int, step: Step) -> None:
        needed, live = set(sources(step)), self._program.live[index]
        chosen = [group for group in self._groups if needed & group.fields]
        self._groups = [group for group in self._groups if not needed & group.fields]
        group = _Group(fields=set().union(*(g.fields for g in chosen)), varies=any(g.varies for g in chosen))
        kept = group.fields & live
        alone = isinstance(step, Functional) or (isinstance(step, Linear) and bool(step.stride))
        separable = bool(kept - needed) or (bool(kept) and not isinstance(step, Linear))
        if separable and not alone and self._too_dear(step, group, kept):
            self._splits.add(index)
            alone = True
        if kept and alone:
            self._groups.append(_Group(fields=kept, varies=group.varies))
            kept, group.fields = set(), set(needed)
        if group.varies and not _mixes_positions(step) and self._too_dear(step, group, kept):
            self._levels.add(index)
            group.varies = False
        self._work += self._work_of(step, group, kept) + OVERHEAD * _strides(step)
        self._kept += self._room_of(step, group, kept)
        self._room = max(self._room, self._room_of(step, group, kept), self._room_of_maps(step, group))
        self._after(step, group, kept, live)

    def _after(self, step: Step, group: _Group, kept: set[str], live: frozenset[str]) -> None:
        made = set(results(step)) & live
        if isinstance(step, Gain):
            self._groups.append(_Group(fields=made))
            if kept:
                self._groups.append(_Group(fields=kept, varies=group.varies))
            return
        varies = (group.varies or _mixes_positions(step)) and not isinstance(step, Functional)
        self._groups.append(_Group(fields=kept | made, varies=varies))

    def _too_dear(self, step: Step, group: _Group, kept: set[str]) -> bool:
        """Whether a step takes more work, or more memory, than it may."""
        room, work = self._room_of(step, group, kept), self._work_of(step, group, kept)
        return room > self._most_room or work > self._most

    def _room_of(self, step: Step, group: _Group, kept: set[str]) -> float:
        """Numbers that the blocks of a step hold."""
        width = self._width(kept) + max(self._width(sources(step)), self._width(results(step)))
        return self._count(step, group) / _strides(step) * width**2

    def _room_of_maps(self, step: Step, group: _Group) -> float:
        """Numbers that the symbols of a step hold, while they are computed axis by axis."""
        if isinstance(step, Functional):
            return float(self._count(step, group)) * _while_transformed((1, *step.kernel.shape))
        if not isinstance(step, Linear):
            return 0.0
        count = float(self._count(step, group)) * (math.prod(step.stride) if step.upward else 1)
        parts = (part for terms in step.outputs.values() for _, part in terms)
        kernels = (part.kernel for part in parts if isinstance(part, Convolution) and part.offsets)
        return max((count * _while_transformed(kernel.shape) for kernel in kernels), default=0.0)

    def _count(self, step: Step, group: _Group) -> int:
        """Frequencies at which its blocks differ."""
        first = sources(step)[0]
        varies = (group.varies or _mixes_positions(step)) and bool(self._program.fields[first].window)
        return self._tori[first].count if varies else 1

    def _work_of(self, step: Step, group: _Group, kept: set[str]) -> float:
        """Multiplications of a step: products of blocks, a factorization, and solutions with it."""
        count = self._count(step, group)
        width, rest, made = (self._width(names) for names in (sources(step), kept, results(step)))
        if isinstance(step, Functional):
            work = float(made * width * (width + made))
        elif isinstance(step, Linear):
            work = self._products(step, rest + made) + (made**2 * width if step.stride else 0)
        else:
            work = width * (width + rest) * (2 * width + rest)
        return (COMPLEX if count > 1 else 1) * float(count * work)

    def _products(self, step: Linear, columns: int) -> float:
        """Entries of the maps times columns that they are applied to."""
        entries = 0.0
        for terms in step.outputs.values():
            for name, part in terms:
                if isinstance(part, Convolution):
                    entries += part.kernel.shape[0] * part.kernel.shape[1] * part.kernel.shape[2]
                else:
                    entries += self._program.fields[name].channels
        return entries * columns * 2

    def _width(self, names: Iterable[str]) -> int:
        return sum(self._program.fields[name].channels for name in names)


def _strides(step: Step) -> int:
    """Parts of the torus of what a step needs, which it takes one after the other."""
    return math.prod(step.stride) if isinstance(step, Linear) and not step.upward else 1


def _while_transformed(shape: Sequence[int]) -> int:
    """Numbers per frequency of a kernel [groups, c_out, c_in, *taps] whose last axis was transformed."""
    return max(math.prod(shape[:-1]), *shape[3:])


def _mixes_positions(step: Step) -> bool:
    """Whether what it gives depends on frequency even where what it gets does not."""
    if not isinstance(step, Linear):
        return False
    parts = [part for terms in step.outputs.values() for _, part in terms]
    return step.upward or any(
        isinstance(part, Convolution) and any(along != (0,) for along in part.offsets) for part in parts
    )
