"""How much a model file may cost: memory and steps, asked for before they are spent.

A file claims what it likes: a shape of a few bytes stands for gigabytes. So whatever does what a file claims
first says what it will take. What a file may take grows with its own size, which nobody can claim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from convsv_cli import deadline
from convsv_cli.allowance import GIB, MEMORY, Allowance, permitting, readable
from convsv_cli.digits import short
from convsv_cli.errors import UnsafeModelError, UsageError
from convsv_cli.machine import file_state
from convsv_cli.remote import files as remote

NORMS, SEARCHED = 0.25, 0.225
"""The shares of these that the norms of all layers may take, and the searches for them alone."""
UNCOUNTED = 1e300
"""As many steps as any number of them that no float can hold."""
OBJECT = 500
"""Steps of what Python does once, such as making an object; an element of an array is one step."""
MEMORY_OPTION, STEP_OPTION = "--memory-limit", "--step-limit"
MORE_OBJECTS = f"{MEMORY_OPTION} above {MEMORY // GIB}G raises the limit in proportion"
"""The hint where there are more than `most`."""


class LimitError(UnsafeModelError):
    """A file asks for more than it may take; what it asks for was not begun."""


_granted: ContextVar[tuple[float | None, float | None]] = ContextVar("granted", default=(None, None))
_current: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def granting(memory: float | None = None, steps: float | None = None) -> Iterator[None]:
    """What users grant each model that is worked on within, instead of what suits its files.

    Args:
        memory: bytes at a time; None for what is granted already, or suits the files and this machine.
        steps: of work; None for what is granted already, or suits the files.

    Raises:
        UsageError: one is negative, or no number.
    """
    for asked in (memory, steps):
        if asked is not None and not asked >= 0:
            raise UsageError(f"a limit must be 0 or more, not {asked}")
    already = _granted.get()
    token = _granted.set((already[0] if memory is None else memory, already[1] if steps is None else steps))
    try:
        yield
    finally:
        _granted.reset(token)


def granted() -> tuple[float | None, float | None]:
    """The memory and the steps that users grant each model; None for what suits its files."""
    return _granted.get()


@contextmanager
def allowing() -> Iterator[None]:
    """Limit what is done within, as one piece of work; nothing is limited elsewhere.

    What is within another piece belongs to that one.
    """
    if _current.get() is not None:
        yield
        return
    memory, steps = _granted.get()
    token = _current.set(Allowance(asked_memory=memory, asked_steps=steps))
    try:
        yield
    finally:
        _current.reset(token)


def credit(path: Path) -> None:
    """Allow more for a file that is opened, as large as it is; once, however often that is done."""
    allowance = _current.get()
    if allowance is not None:
        with suppress(OSError, ValueError, RuntimeError):  # links in a circle among them
            resolved = path.resolve()
            allowance.files.setdefault(resolved, remote.size(path))
            allowance.states.setdefault(resolved, file_state(resolved))


def credit_held(size: int) -> None:
    """Allow more for a model of so many bytes that is in memory already."""
    allowance = _current.get()
    if allowance is not None:
        allowance.files.setdefault(Path(), size)


def unchanged() -> bool:
    """Whether every file that was opened for this piece of work is what it was then; False elsewhere."""
    allowance = _current.get()
    return allowance is not None and all(file_state(p) == known for p, known in allowance.states.items())


def spend(steps: float, what: str | Callable[[], str], share: float = 1.0) -> None:
    """Take so many steps of what the model may still take, before they are done.

    Args:
        steps: elements that are touched; `OBJECT` for what Python does once.
        what: names what takes them and what it is about, such as "the node 'Expand_3'"; a function gives it
            where it takes time to say.
        share: of all steps, that work of this kind and all work before it may take, so that others have some.

    Raises:
        LimitError: fewer are left; none of them are taken.
    """
    allowance = _current.get()
    if allowance is None:
        return
    steps, whole = min(steps, UNCOUNTED), share * allowance.steps
    if not allowance.spent + steps <= whole:
        refuse()
        left = max(0.0, whole - allowance.spent)
        raise LimitError(
            f"{_said(what)} would take {short(steps, 2)} steps, and {short(left, 2)} of {short(whole, 2)} are"
            " left",
            hint=permitting((allowance.spent + steps) / share, STEP_OPTION),
        )
    allowance.spent += steps


def expect(times: float) -> None:
    """Let bounds take so many times the usual multiplications, where users ask for a longer search.

    Args:
        times: 1 or more.
    """
    allowance = _current.get()
    if allowance is not None:
        allowance.patience = max(allowance.patience, times)


def multiply(count: float, what: str | Callable[[], str], share: float = NORMS) -> None:
    """Take so many of the multiplications that bounds may still take, before they are done.

    Args:
        count: of multiplications; of what is slower, as many as take as long.
        what: as in `spend`.
        share: of all multiplications that may have been taken then.

    Raises:
        LimitError: fewer are left; none of them are taken.
    """
    allowance = _current.get()
    if allowance is None:
        return
    whole = share * allowance.products
    if not allowance.multiplied + count <= whole:
        refuse()
        left = max(0.0, whole - allowance.multiplied)
        times = (allowance.multiplied + count) / whole if whole else math.inf
        raise LimitError(
            f"{_said(what)} would take {short(count, 2)} multiplications, and {short(left, 2)} of"
            f" {short(allowance.products, 2)} are left",
            hint=permitting(times * allowance.steps, STEP_OPTION),
        )
    allowance.multiplied += count


def searchable(share: float = SEARCHED) -> float:
    """How many multiplications a search may take: half of those that are left; none once a run is to end.

    So the layers that come after one whose search does not end are searched as well, if not as long.

    Args:
        share: as in `multiply`.
    """
    if deadline.ended():
        return 0.0
    allowance = _current.get()
    if allowance is None:
        return math.inf
    return max(0.0, share * allowance.products - allowance.multiplied) / 2


@contextmanager
def apart() -> Iterator[None]:
    """Count the multiplications within by themselves: of what users ask for beside all bounds.

    So it has as many as if it had been asked for alone, however long the searches before it took.
    """
    allowance = _current.get()
    if allowance is None:
        yield
        return
    before, allowance.multiplied = allowance.multiplied, 0.0
    try:
        yield
    finally:
        allowance.multiplied = before


def begin_search(count: float, what: str | Callable[[], str], share: float = SEARCHED) -> None:
    """As `multiply`, for what a search needs before its first step; it may take `searchable`.

    Raises:
        LimitError: it needs more, or the run is to end; none of them are taken.
    """
    if why := deadline.words():
        raise LimitError(f"{_said(what)} was not begun: {why}")
    most = searchable(share)
    if not count <= most:
        refuse()
        raise LimitError(
            f"{_said(what)} would take {short(count, 2)} multiplications before its first step, more than"
            f" {short(most, 2)} that are left for it",
            hint=f"{STEP_OPTION} raises the limit",
        )
    searched(count)


def searched(count: float) -> None:
    """Take multiplications of a search, which has seen that it may take them."""
    allowance = _current.get()
    if allowance is not None:
        allowance.multiplied += count


def hold(size: float, what: str | Callable[[], str]) -> None:
    """See that one step may take so much memory, before it does.

    Args:
        size: bytes.
        what: as in `spend`.

    Raises:
        LimitError: it may not.
    """
    allowance = _current.get()
    if allowance is not None and not size <= allowance.memory:
        refuse()
        raise LimitError(
            f"{_said(what)} would take {readable(size)} of memory, more than {readable(allowance.memory)}",
            hint=f"{MEMORY_OPTION} raises the limit",
        )


def fits(size: float) -> bool:
    """Whether one step may take so many bytes: for whoever has a cheaper way."""
    if size <= room():
        return True
    refuse()
    return False


def room() -> float:
    """Bytes that one step may take."""
    allowance = _current.get()
    return math.inf if allowance is None else allowance.memory


def refuse() -> None:
    """Note that work wants more than it may take: a trial that does says nothing of what its turn finds."""
    allowance = _current.get()
    if allowance is not None:
        allowance.refused = True


def refused() -> bool:
    """Whether work that belongs to this was refused anything, as `refuse` notes."""
    allowance = _current.get()
    return allowance is not None and allowance.refused


def current() -> Allowance | None:
    """Of the work that this belongs to; None where nothing is limited."""
    return _current.get()


def use(allowance: Allowance | None) -> None:
    """Count what this context does from now on in this one: a thread has none of its own."""
    _current.set(allowance)


def most(count: int) -> int:
    """As many objects as honest files have at most: in proportion more where more memory is granted.

    Args:
        count: how many that is by default.
    """
    allowance = _current.get()
    return count if allowance is None else int(count * allowance.scale)


def _said(what: str | Callable[[], str]) -> str:
    return what if isinstance(what, str) else what()
