"""Checkpoints as they appear: looked for again and again, each audited once it has stopped changing.

A look is a sweep over the files that are new since the one before. A trainer may be writing any of them, so
that a file counts only if two looks see it alike, if it still is so after it was read, and if it can be read:
one that cannot is taken for half-written until it has not changed for some time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from convsv_cli.comparison import in_order
from convsv_cli.errors import UnreadableModelError
from convsv_cli.report import Report
from convsv_cli.saved import parsed
from convsv_cli.sweeping.discovery import discover
from convsv_cli.sweeping.driver import Tally
from convsv_cli.sweeping.executor import Answer, Order
from convsv_cli.sweeping.outcomes import Outcome, Outcomes, state_of_file

PATIENCE = 60.0
"""Seconds without a change after which a file that cannot be read is broken, and not half-written."""
NANO = 1e-9


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A file that has not stopped changing, as far as is known.

    Attributes:
        state: see `state_of_file`.
        since: for how long it is so; the time of the first look at it, or of its last change before that.
    """

    state: list[Any]
    since: float


class Watch:
    """Looks for models, and tells of each content once.

    Entries are of contents: a file that was renamed takes its outcome with it, and a copy is the `same` as
    the first one. What becomes of files that are deleted, see `Outcomes.settle`.

    Args:
        named: paths, addresses and globs, as `discover` takes them.
        outcomes: where they are kept; what is there of earlier runs is not told again.
        work: `sweep`, of some models, and with its last two arguments.
        tell: called with each outcome that is new.
        move: called with the old and the new path of a file that was renamed.
        every: seconds from look to look.
        now: gives the seconds since 1970.
        patience: see `PATIENCE`.
    """

    def __init__(
        self,
        named: Sequence[str],
        outcomes: Outcomes,
        work: Callable[..., Tally],
        tell: Callable[[Outcome], None],
        move: Callable[[str, str], None],
        *,
        every: float,
        now: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        self._named, self._outcomes, self._work = named, outcomes, work
        self._tell, self._move = tell, move
        self._every, self._patience, self._now = every, patience, now
        self._waiting: dict[str, Waiting] = {}
        self._done: dict[str, list[Any]] = {}
        self._there: set[str] = set()
        self._copies: dict[str, str] = {}
        self._homes: dict[str, str] = {}
        for outcome in outcomes.kept():
            self._homes.setdefault(_content(outcome.report), outcome.path)
        self._told = {*self._homes} - {""}
        self._looked = False

    def until_idle(
        self, seconds: float | None, pause: Callable[[float], None], after: Callable[[], None]
    ) -> None:
        """Look again and again, until nothing was new, and nothing waited for, for so long.

        Args:
            seconds: how long; None for ever.
            pause: waits for so many seconds.
            after: called after each look.

        Raises:
            ConvsvError: nothing can be looked at the first time, or an outcome cannot be written.
        """
        busy = self._now()
        while True:
            if self.look():
                busy = self._now()
            after()
            if seconds is not None and self._now() - busy >= seconds and not self._waiting:
                return
            pause(self._every)

    def look(self) -> bool:
        """Audit what has stopped changing; whether there was, or is going to be, anything to do.

        Raises:
            ConvsvError: as `until_idle`.
        """
        try:
            found = [each for _, each in in_order([(f.path, f) for f in discover(self._named, absent=True)])]
        except UnreadableModelError:  # a server that does not answer now may do so later
            if not self._looked:
                raise
            return False
        self._there = {each.path for each in found}
        self._waiting = {path: each for path, each in self._waiting.items() if path in self._there}
        for path in self._done.keys() - self._there:
            del self._done[path]
        ready = [each for each in found if each.same_as or self._is_ready(each.path)]
        self._outcomes.settle(self._there, self._named)
        self._looked = True
        self._work(ready, keep=self._keep, in_turn=True)
        return bool(self._waiting) or any(not each.same_as for each in ready)

    def _is_ready(self, path: str) -> bool:
        """Whether a file is new, and as it was at the look before, or had long been so at the first one."""
        state, before, now = state_of_file(path), self._waiting.get(path), self._now()
        if state == self._done.get(path):
            return False
        if before is None and self._outcomes.has(path):
            self._done[path] = state
            return False
        if before is not None and before.state == state:
            return True
        since = now if self._looked else min(now, _changed(state, now))
        self._waiting[path] = Waiting(state=state, since=since)
        return now - since >= self._every

    def _keep(self, order: Order, answer: Answer) -> None:
        """Write down and tell what became of a file, unless it has to be looked at again."""
        path, report = order.path, parsed(answer.document, order.path)
        waiting = self._waiting[path]
        young = self._now() - waiting.since < self._patience
        if state_of_file(path) != waiting.state or (young and not report.audits):
            return
        del self._waiting[path]
        self._done[path] = waiting.state
        content = _content(report)
        home = self._homes.get(content, path) if content else path
        if home != path and home in self._there:
            self._copies[path] = home
            self._outcomes.keep_link(path, home)
            return
        if home != path:
            self._outcomes.forget(home)
            self._move(home, path)
        self._forget_content(path)
        self._outcomes.keep(order, answer)
        if content:
            self._homes[content] = path
        if content not in self._told:
            self._told |= {content} - {""}
            self._tell(Outcome(path=path, report=report))

    def _forget_content(self, path: str) -> None:
        """Of what a file was before; its copies have to be looked at, as they are none any more."""
        for content in [content for content, home in self._homes.items() if home == path]:
            del self._homes[content]
        for copy in [copy for copy, home in self._copies.items() if home == path]:
            del self._copies[copy]
            self._done.pop(copy, None)


def _content(report: Report | None) -> str:
    """What two files have in common that are alike, byte by byte; empty where that is not known."""
    models = [audit.model for audit in report.audits] if report else []
    return " ".join(models[0].files_sha256) or models[0].sha256 if models else ""


def _changed(state: list[Any], now: float) -> float:
    """When a file of this machine was last changed, or moved to where it is, as far as its state tells."""
    times = [value for value in state[2:4] if isinstance(value, int)]
    return NANO * max(times) if len(times) == 2 else now
