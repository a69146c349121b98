"""When a run ends before all of it is done: by the clock, where users ask for that, or at Ctrl-C.

What is proven by then stays proven, and is reported. Searches ask `ended` before they go on, and leave it at
what they have; Ctrl-C also ends what is at work, and `ending` is what stays of it. All else asks nobody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from convsv_cli.errors import UsageError

INTERRUPTED, TIME_LIMIT = "interrupted", "time_limit"
"""Why a run ended early."""
TIME_OPTION = "--time-limit"
WORDS = {"": "", INTERRUPTED: "interrupted", TIME_LIMIT: f"stopped by {TIME_OPTION}"}
"""The same for people."""


@dataclass
class Deadline:
    """Of one run, which may be about several models.

    Attributes:
        seconds: that it may take; infinite for as long as it takes.
        start: when it began, by `time.monotonic`.
        interrupted: whether Ctrl-C has ended it.
        heeded: whether anything was left out for it.
    """

    seconds: float = math.inf
    start: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108  (which tests replace)
    interrupted: bool = False
    heeded: bool = False

    @property
    def reason(self) -> str:
        """Why no more is to be begun; empty where it is not over."""
        if self.interrupted:
            return INTERRUPTED
        return TIME_LIMIT if time.monotonic() - self.start >= self.seconds else ""


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def running(seconds: float | None = None) -> Iterator[None]:
    """One run, which begins now; a run within another is part of that.

    Args:
        seconds: that it may take; None for as long as it takes.

    Raises:
        UsageError: they are not more than 0.
    """
    if seconds is not None and not seconds > 0:
        raise UsageError(f"a time limit must be more than 0, not {seconds}")
    if _current.get() is not None:
        yield
        return
    token = _current.set(Deadline(seconds=math.inf if seconds is None else seconds))
    try:
        yield
    finally:
        _current.reset(token)


def ended() -> str:
    """Why no more is to be begun, of whoever then leaves something out; empty where the run goes on."""
    deadline = _current.get()
    if deadline is None or not (reason := deadline.reason):
        return ""
    deadline.heeded = True
    return reason


def left() -> float | None:
    """Seconds that the run may still take; None for as long as it takes."""
    deadline = _current.get()
    if deadline is None or deadline.seconds == math.inf:
        return None
    return max(0.0, deadline.start + deadline.seconds - time.monotonic())


def words() -> str:
    """As `ended`, for people."""
    return WORDS[ended()]


class TimeUpError(Exception):
    """Raised by a listener, to end what tells it how far it is: the time of the run is over."""


def check() -> None:
    """As a listener does it.

    Raises:
        TimeUpError: the run has ended.
    """
    if ended():
        raise TimeUpError


def outcome() -> str:
    """Why something was left out of this run; empty where nothing was."""
    deadline = _current.get()
    return deadline.reason if deadline is not None and (deadline.heeded or deadline.interrupted) else ""


def interrupted() -> bool:
    """Whether Ctrl-C has ended this run."""
    return outcome() == INTERRUPTED


def interrupt() -> bool:
    """End the run with what it has; False where that was asked for before, or nobody would report it."""
    deadline = _current.get()
    if deadline is None or deadline.interrupted:
        return False
    deadline.interrupted = True
    return True


@contextmanager
def ending() -> Iterator[None]:
    """Work that Ctrl-C ends, and with it the run, but for what follows: a second one passes."""
    try:
        yield
    except KeyboardInterrupt:
        if not interrupt():
            raise
