"""Several ways to the bound of one program, each proven by itself; the least counts.

Multipliers are greedy, then searched for on a small torus and carried to the true one, then searched for
there. A late stage whose window has few entries, or a small network, leaves the torus with what was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import torch

from convsv_cli import deadline, limits
from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.levels import level
from convsv_cli.lipschitz.density.multipliers import GREEDY
from convsv_cli.lipschitz.density.plan import MOST_ROOM, NUMBER, SAVED, Plan, planned
from convsv_cli.lipschitz.density.program import Program
from convsv_cli.lipschitz.density.recursion import Recursion, Watch
from convsv_cli.lipschitz.density.search import Found, Own, choosing, greedy, searched, valued
from convsv_cli.lipschitz.density.sizes import InfeasibleError
from convsv_cli.lipschitz.density.steps import Activation, Gain
from convsv_cli.lipschitz.density.window import Switch, restricted, switches
from convsv_cli.lipschitz.effort import BACKWARD, Effort
from convsv_cli.spectral.cores import all_threads

TINY, SMALL = 8, 16
"""Positions per axis of the tori on which what needs no search is chosen, and on which is searched first."""
ENOUGH = 40
"""Steps of a search that are worth the whole torus from the beginning."""
LARGE = 3e10
"""Multiplications of a pass that is worth more than one thread for each product."""
FEW = 8
"""Steps of a search that are not worth it."""
PROOF = 5
"""How many passes the proof takes as long as."""
LEVEL = 1500
"""Multiplications in the time in which a level takes a number of the state."""
WHAT = "the propagation of covariances"
SWITCHED = 1e6
"""Multiplications in the time in which a step is written entry by entry, and planned."""
ROUND, GAIN = 30, 0.03
"""Steps of a round of a search, and the logarithm of what it has to gain for another one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What is to be bounded.

    Attributes:
        programs: from the same sources to ever later marks; the last one is what is bounded.
        plan: how that is run.
    """

    programs: tuple[Program, ...]
    plan: Plan

    @property
    def program(self) -> Program:
        """The longest one."""
        return self.programs[-1]

    @property
    def marks(self) -> tuple[int, ...]:
        """Steps up to each mark."""
        return tuple(len(program.steps) for program in self.programs)

    @property
    def measuring(self) -> float:
        """Multiplications for the levels at all marks, where states are dense however sparse the maps are."""
        return sum(_level_cost(program) for program in self.programs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What was proven of a run.

    Attributes:
        bound: of its Lipschitz constant.
        levels: roughly, the bounds up to each mark, and `bound` as the last.
        covariances: of its end.
    """

    bound: float
    levels: tuple[float, ...]
    covariances: tuple[Covariance, ...]


def best_of(run: Run, effort: Effort) -> Outcome | None:
    """The bound that the best way leads to; None where nothing can be proven.

    Which way is the best is estimated; the proof of one takes longer than to look for the next.

    Args:
        run: what to bound.
        effort: how far to go.
    """
    try:
        limits.multiply(PROOF * run.plan.cost + run.measuring, WHAT, share=1.0)
    except limits.LimitError:
        return None
    for attempt in sorted(_affordable(_attempts(run, effort)), key=lambda attempt: attempt.log):
        try:
            outcome = _proven(attempt, run)
        except InfeasibleError:
            continue
        if math.isfinite(outcome.bound):
            return outcome
    return None


def _proven(attempt: _Attempt, run: Run) -> Outcome:
    """What an attempt leads to; the first Ctrl-C ends the search, but not the proof, which begins again."""
    with deadline.ending():
        return attempt.proven(run)
    return attempt.proven(run)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Attempt:
    """Multipliers on the torus, and where it is left.

    Attributes:
        found: the multipliers.
        switch: to a window; None for staying.
        late: the multipliers after that, by step of the switch's program.
        log: an estimate of the natural logarithm of the bound.
    """

    found: Found
    switch: Switch | None = None
    late: Found | None = None
    log: float = math.inf

    def proven(self, run: Run) -> Outcome:
        """What this leads to, with all rounding.

        Raises:
            InfeasibleError: nothing can be proven of it.
        """
        levels: dict[int, float] = {0: 1.0}
        with torch.no_grad(), all_threads() if run.plan.work > LARGE else nullcontext():
            covariances = _run(run, self, levels)
            bound = level(covariances, proof=True)
        known = (levels.get(mark, 1.0) for mark in run.marks[:-1])
        return Outcome(bound=bound, levels=(*known, bound), covariances=covariances)


def _run(run: Run, attempt: _Attempt, levels: dict[int, float]) -> tuple[Covariance, ...]:
    """With a proof, and what is reached at each mark."""
    marks = set(run.marks[:-1])
    switch, late = attempt.switch, attempt.late

    def watch(steps: int, covariances: Sequence[Covariance]) -> None:
        if steps in marks:
            levels[steps] = level(covariances, proof=False)

    if switch is None or late is None:
        return Recursion(run.program, plan=run.plan, proof=True).run(choosing(attempt.found.again()), watch)
    start = _entrance(run, switch, attempt.found, watch)
    recursion = Recursion(switch.program, plan=planned(switch.program), proof=True, start=start)
    return recursion.run(choosing(late.again()), lambda steps, found: watch(switch.first + steps, found))


def _level_cost(program: Program) -> float:
    width = sum(program.fields[name].channels for name in program.outputs)
    frequencies = max((program.tori[name].count for name in program.outputs), default=1)
    return LEVEL * float(frequencies) * width**2


def _own(switch: Switch, found: Found) -> Own:
    return lambda index, variance, _: switch.own(found.multipliers, index, variance)


def _entrance(
    run: Run, switch: Switch, found: Found, watch: Watch = lambda *_: None, *, proof: bool = True
) -> Covariance | None:
    """The covariance of the window where the torus is left; None for the identity at the sources."""
    if not switch.first:
        return None
    program, dtype = run.program, torch.complex128 if proof else torch.complex64
    head = replace(program, steps=program.steps[: switch.first], outputs=switch.program.sources)
    recursion = Recursion(head, plan=run.plan, dtype=dtype, proof=proof)
    (end,) = recursion.run(choosing(found.again()), watch)
    (name,) = end.fields
    return restricted(end, program.fields[name], head.tori[name])


def _affordable(attempts: Iterator[_Attempt]) -> Iterator[_Attempt]:
    """Those before the first one that would take more than the model may, or that Ctrl-C ends."""
    with suppress(limits.LimitError), deadline.ending():
        yield from attempts


def _ask(plan: Plan, passes: int) -> None:
    """Ask for passes without a proof, of which as many again are left to others."""
    limits.begin_search(passes * plan.cost, WHAT, share=1.0)


def _steps(plan: Plan, effort: Effort) -> int:
    """Steps of a search, as many as the effort and the model's allowance have room for."""
    kept = SAVED * plan.kept
    if kept > MOST_ROOM * NUMBER * effort.room or not limits.fits(kept):
        return 0
    return int(min(effort.steps(plan.work), limits.searchable(1.0) / (BACKWARD * plan.cost)))


def _attempts(run: Run, effort: Effort) -> Iterator[_Attempt]:
    """Ever dearer ways; one alone where nothing has a multiplier."""
    program = run.program
    if not any(isinstance(step, Activation | Gain) for step in program.steps):
        yield _Attempt(found=Found(multipliers={}))
        return
    tiny = program.shrunk(TINY)
    cheap = planned(tiny, effort.most, effort.room)
    work = cheap.work
    _ask(cheap, len(GREEDY) if work < LARGE else 1)
    recursion = Recursion(tiny, plan=run.plan, dtype=torch.complex64, proof=False)
    found = greedy(recursion, first=work >= LARGE)
    if not math.isfinite(found.log):
        return
    whole = _steps(run.plan, effort)
    near = program if whole >= ENOUGH else program.shrunk(SMALL)
    nearly = planned(near, effort.most, effort.room)
    steps = _steps(nearly, effort)
    if not steps or not found.multipliers:
        yield _Attempt(found=found)
        return
    small, full = (
        Recursion(each, plan=run.plan, dtype=torch.complex64, proof=False) for each in (near, program)
    )
    own = found.again()
    _ask(nearly, 1)
    there = valued(small, own)
    if not math.isfinite(there.log):  # it broke off, with multipliers up to that step: nowhere to search from
        yield _Attempt(found=found)
        return
    found = replace(there, own=own)
    _ask(run.plan, 2)
    yield _Attempt(found=found, log=found.log if near is program else valued(full, own).log)
    first, second, third = (effort.part(i / 3, (i + 1) / 3) for i in range(3))
    _ask(nearly, BACKWARD * steps)
    last = near is program or (effort.thorough and not whole)
    found = _further(small, found, steps if last else min(steps, ENOUGH), first)
    there = found if near is program else valued(full, found.again())
    yield _Attempt(found=found, log=there.log)
    if near is not program and effort.thorough and math.isfinite(there.log):
        _ask(run.plan, BACKWARD * whole)
        found = _further(full, there, whole, second)
        yield _Attempt(found=found, log=found.log)
    yield from _windowed(run, found, third)


def _further(recursion: Recursion, found: Found, most: int, effort: Effort) -> Found:
    """A search of so many steps; a thorough one in rounds, until one gains too little."""
    if not effort.thorough:
        return searched(recursion, found, most, effort.tell)
    for done in range(0, most - ROUND + 1, ROUND):

        def tell(share: float, done: int = done) -> None:
            effort.tell((done + ROUND * share) / most)

        before, found = found.log, searched(recursion, found, ROUND, tell)
        if before - found.log < GAIN:
            break
    return found


def _is_cheap(switch: Switch, effort: Effort) -> bool:
    limits.begin_search(SWITCHED * len(switch.program.steps), WHAT, share=1.0)
    return planned(switch.program).work <= effort.dense


def _windowed(run: Run, found: Found, effort: Effort) -> Iterator[_Attempt]:
    """Leaving the torus as early as that may cost."""
    switch = next((each for each in switches(run.program) if _is_cheap(each, effort)), None)
    if switch is None:
        return
    plan = planned(switch.program)
    try:
        with torch.no_grad():
            start = _entrance(run, switch, found, proof=False)
    except InfeasibleError:
        return
    _ask(plan, PROOF)
    recursion = Recursion(switch.program, plan=plan, dtype=torch.complex64, proof=False, start=start)
    own = _own(switch, found)
    late = valued(recursion, own)
    if not math.isfinite(late.log):
        return
    yield _Attempt(found=found, switch=switch, late=replace(late, own=own), log=late.log)
    steps = _steps(plan, effort)
    if steps >= FEW:
        _ask(plan, BACKWARD * steps)
        late = _further(recursion, late, steps, effort)
        yield _Attempt(found=found, switch=switch, late=late, log=late.log)
