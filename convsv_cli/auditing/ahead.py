"""Layers measured ahead of their turn: every core takes layers of its own.

A search is many small steps, of which few have work for two cores, and of what has, one core takes more than
half. But what a layer may still take depends on what those before it took. So a layer is measured on trial,
as if it came late, when half of what the model may take is gone, and with a core's share of the memory: where
that refused it nothing, its turn would find the same, to the last digit, and the row counts. Any other row is
measured in its turn, with all cores and all memory. So are the largest layers, and large ones of which there
are too few to keep all cores busy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass

from convsv_cli import deadline, limits
from convsv_cli.allowance import Allowance
from convsv_cli.auditing.plan import Task
from convsv_cli.auditing.repeats import RepeatedError
from convsv_cli.model.layer import Layer
from convsv_cli.report import LayerAudit
from convsv_cli.spectral import cores

SMALL, LARGE = 2**20, 2**25
"""Entries of a weight up to which several are measured at a time: always, and where many are as large."""
ROUNDS = 2
"""How many larger layers every core must have, so that none waits long for the last one."""
Measure = Callable[[Task], LayerAudit]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """The row of a layer, and what was taken for it."""

    row: LayerAudit
    taken: Allowance | None


def in_turn(tasks: Sequence[Task], measured: Measure) -> Iterator[tuple[int, LayerAudit]]:
    """The place and the row of each layer; of those that Ctrl-C came before, none.

    Args:
        tasks: in the order in which they are to be measured.
        measured: gives the row of one; called on any core. One that raises `RepeatedError` ahead of its turn
            gives it then.
    """
    trials = _trials(tasks, measured)
    allowance = limits.current()
    for index, task in enumerate(tasks):
        trial = trials.pop(index, None)
        if trial is not None and _counts(trial, allowance):
            yield index, trial.row
        elif not deadline.interrupted():
            yield index, measured(task)


def _counts(trial: _Trial, allowance: Allowance | None) -> bool:
    """Whether its turn, which is now, would have found the same, or the run has ended before that comes."""
    taken = allowance is None or trial.taken is None or allowance.takes(trial.taken)
    return taken or bool(deadline.outcome())


def _trials(tasks: Sequence[Task], measured: Measure) -> dict[int, _Trial]:
    """The rows of most layers, by their place; those of most work first, so that all cores end together."""
    chosen = _chosen(tasks)
    if cores.CORES < 2 or len(chosen) < 2:
        return {}
    found: dict[int, _Trial] = {}
    allowance = limits.current()
    contexts = {index: copy_context() for index in chosen}

    def measure(index: int) -> None:
        taken = allowance and allowance.trial(cores.CORES, limits.SEARCHED)
        limits.use(taken)
        found[index] = _Trial(row=measured(tasks[index]), taken=taken)

    def attempt(index: int) -> None:
        if deadline.interrupted() or deadline.left() == 0:
            return
        try:
            contexts[index].run(measure, index)
        except RepeatedError:
            return
        except KeyboardInterrupt:  # on the main thread; searches on other cores ask whether the run has ended
            if not deadline.interrupt():
                raise

    cores.parallel_map(attempt, sorted(chosen, key=lambda index: -tasks[index].work))
    return found


def _chosen(tasks: Sequence[Task]) -> list[int]:
    """The places of layers that are measured ahead."""
    sizes = {i: math.prod(t.layer.kernel_shape) for i, t in enumerate(tasks) if isinstance(t.layer, Layer)}
    larger = sum(SMALL < size <= LARGE for size in sizes.values())
    most = LARGE if larger >= ROUNDS * cores.CORES else SMALL
    return [i for i, size in sizes.items() if 0 < size <= most]
