"""Layers that an audit has several times, as repeated blocks: equal weights in equal places, measured once.

What a layer may take depends on what those before it took. So the figures of one are another's only where
nothing was refused, and where there is so much left that the other would be refused nothing either: it would
find the same, to the last digit. It takes as much as if it had. So all rows are as if each were measured, and
none depends on which core was faster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock

from convsv_cli import deadline, limits
from convsv_cli.allowance import Allowance
from convsv_cli.auditing.plan import Task
from convsv_cli.model.layer import Layer
from convsv_cli.report import AUDITED, LayerAudit, Measurement

SPARE = 10
"""How many times what work took must be left for it to be granted all that it asks for."""


class RepeatedError(Exception):
    """An equal layer is measured ahead of its turn already: this one's turn will know its figures."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """Figures, the notes on them, and what they took: steps, and multiplications."""

    measurements: tuple[tuple[str, Measurement], ...]
    notes: tuple[str, ...]
    taken: tuple[float, float]


class Repeats:
    """The layers of one audit so far."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._tried: set[object] = set()
        self._found: dict[object, _Found] = {}

    def row(self, task: Task, blank: LayerAudit) -> LayerAudit | None:
        """The row with the figures of an equal layer; None where it is to be measured.

        Args:
            task: what is asked for.
            blank: the row before anything is measured, with the digest of its weight.

        Raises:
            RepeatedError: this is ahead of its turn, and not the first.
        """
        key, allowance = _key(task, blank), limits.current()
        with self._lock:
            if allowance is not None and allowance.start is not None:
                if key in self._tried:
                    raise RepeatedError
                self._tried.add(key)
            found = self._found.get(key)
        if found is None or not _takes_again(found.taken):
            return None
        return replace(blank, measurements=found.measurements, assumed=(*blank.assumed, *found.notes))

    def keep(self, task: Task, blank: LayerAudit, row: LayerAudit, before: Allowance | None) -> None:
        """Keep what was found, unless it was cut short; `before` is what `begun` gave."""
        after, taken = limits.current(), (0.0, 0.0)
        if row.status != AUDITED or deadline.ended():
            return
        if after is not None and before is not None:
            if after.refused:
                return
            taken = after.spent - before.spent, after.multiplied - before.multiplied
        notes = row.assumed[len(blank.assumed) :]
        with self._lock:
            self._found[_key(task, blank)] = _Found(measurements=row.measurements, notes=notes, taken=taken)


def _key(task: Task, blank: LayerAudit) -> object:
    """What the figures of a layer depend on within an audit."""
    geometry = task.layer.geometry if isinstance(task.layer, Layer) else None
    return blank.weight_sha256, blank.dtype, geometry, blank.input_size, task.calculators


def begun() -> Allowance | None:
    """What was taken before the work that begins now, of which nothing has been refused yet.

    None where nothing is limited.
    """
    allowance = limits.current()
    if allowance is None:
        return None
    if allowance.start is None:  # what a trial was refused before is a refusal of all of it
        allowance.refused = False
    return replace(allowance)


def _takes_again(taken: tuple[float, float]) -> bool:
    """Take what work took that is not done again, unless something of it might be refused now; then nothing.

    A search asks for a few times what it then takes, at most, and gets half of what is left. So it is granted
    whatever it was granted before where `SPARE` times that much is left.

    Args:
        taken: steps, and multiplications for norms.
    """
    allowance = limits.current()
    if allowance is None:
        return True
    steps, products = taken
    left = limits.SEARCHED * allowance.products - allowance.multiplied
    if allowance.spent + steps > allowance.steps or SPARE * products > left:
        return False
    allowance.spent += steps
    allowance.multiplied += products
    return True
