"""Orders on a Dask cluster: what carries them there, begins them again and counts workers is Dask.

A worker must have this version of convsv, and find the models at the same paths.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from convsv_cli.errors import UsageError
from convsv_cli.holding import scratch
from convsv_cli.replacing import blaming
from convsv_cli.sweeping.executor import Answer, Order, size_of

PATIENCE = 20.0
"""Seconds in which a scheduler answers."""
GRACE = 1.0
"""Seconds more in which Dask may itself say that none does, and why."""
FRESH = 2.0
"""Seconds for which the number of workers is taken to be the same."""
TRIES = 2
"""Workers that an order may cost."""
INSTALL = "pip install 'convsv[distributed]'"
HINT = "its log has one such as tcp://10.0.0.1:8786"
DIED = "the workers that it was given to ended without an answer: killed by the system, or by the file"
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """An order that is under way, and whether that is so again, after its worker has died."""

    order: Order
    answer: Future[Answer]
    again: bool = False


class ClusterExecutor:
    """An order per worker: one of several threads begins the next order when it has ended this one.

    An order whose worker has died goes to another one, once where workers can write down that they begin it;
    otherwise as often as the scheduler allows (thrice, unless `distributed.scheduler.allowed-failures` says
    otherwise), and then as often again with no other suspect, for Dask blames what has not begun as well.

    Args:
        address: of the scheduler, such as tcp://10.0.0.1:8786.
        patience: seconds in which it must answer.
        notes: folder that workers see, too, and may write down in what they begin; None for none.

    Raises:
        UsageError: Dask is not installed here, no scheduler answers, or a worker has another convsv.
    """

    def __init__(self, address: str, patience: float = PATIENCE, notes: Path | None = None) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            what = "a cluster takes dask.distributed, which is not installed"
            raise UsageError(what, hint=INSTALL) from error
        try:
            make = partial(Client, address, timeout=patience, set_as_default=False)
            self._client: Any = _within(patience, make)
        except ValueError as error:
            raise UsageError("no address of a Dask scheduler", where=address, hint=HINT) from error
        except Exception as error:  # Dask's, of tornado, and of the system: whatever an address leads to
            what = f"no Dask scheduler answers within {patience:g} s ({type(error).__name__})"
            raise UsageError(what, where=address, hint=HINT) from error
        self._address, self._futures, self._folder = address, set[Any](), str(Path.cwd())
        self._known, self._known_at = 0, -FRESH
        self._lock, self._suspects = threading.Lock(), deque[_Trial]()
        self._ending, self._notes = ExitStack(), ""
        try:
            self._compare()
            if notes is not None:
                with blaming(notes):
                    self._notes = str(self._ending.enter_context(scratch(notes)))
        except BaseException:
            self._client.close()
            raise

    @property
    def slots(self) -> int:
        """How many workers there are now; one where there are none yet, as on a cluster that adapts."""
        if time.monotonic() - self._known_at > FRESH:
            self._known, self._known_at = len(self._asked(self._client.nthreads)), time.monotonic()
        return max(1, self._known)

    @property
    def waiting(self) -> int:
        """None: with an order that kills its worker, Dask blames those that wait there."""
        return 0

    def submit(self, order: Order) -> Future[Answer]:
        """See `Executor`; the largest file first, so that none is begun when all others have ended."""
        trial = _Trial(order=order, answer=Future())
        trial.answer.set_running_or_notify_cancel()
        self._send(trial)
        return trial.answer

    def close(self) -> None:
        """See `Executor`; an order that has begun ends on its worker, and its answer is forgotten."""
        with suppress(Exception):  # a scheduler that has gone has forgotten them
            self._client.cancel(list(self._futures), force=True)
        self._client.close(timeout=PATIENCE)
        self._ending.close()

    def _send(self, trial: _Trial) -> None:
        future = self._asked(
            lambda: self._client.submit(
                work, trial.order, self._folder, self._notes, pure=False, priority=size_of(trial.order.path)
            )
        )
        self._futures.add(future)
        future.add_done_callback(lambda done: self._answered(done, trial))

    def _answered(self, future: Any, trial: _Trial) -> None:  # noqa: ANN401
        """Pass on what became of an order, on a thread of Dask's."""
        self._futures.discard(future)
        if future.status == "finished":
            trial.answer.set_result(future.result())
        elif future.status != "error":
            trial.answer.set_exception(self._gone())
        elif type(error := future.exception()).__name__ != "KilledWorker":
            what = f"a worker cannot work: {type(error).__name__}: {error}"
            trial.answer.set_exception(UsageError(what, where=self._address))
        elif trial.again:
            trial.answer.set_result(Answer(died=DIED))
        else:
            self._try_again(_Trial(order=trial.order, answer=trial.answer, again=True))
            return
        if trial.again:
            self._try_again(None)

    def _try_again(self, suspect: _Trial | None) -> None:
        """Orders whose workers have died run again, one after the other.

        Dask blames all that a worker had when it died; of those, only the one that kills workers does it
        again when no other suspect runs.

        Args:
            suspect: a further one; None where the one that ran has an answer.
        """
        with self._lock:
            if suspect is None:
                self._suspects.popleft()
            else:
                self._suspects.append(suspect)
                if len(self._suspects) > 1:
                    return
            following = self._suspects[0] if self._suspects else None
        if following is not None:
            try:
                self._send(following)
            except UsageError as error:
                following.answer.set_exception(error)

    def _asked(self, ask: Callable[[], Any]) -> Any:  # noqa: ANN401
        """What the scheduler says.

        Raises:
            UsageError: it does not answer any more.
        """
        try:
            return ask()
        except Exception as error:
            raise self._gone() from error

    def _gone(self) -> UsageError:
        hint = "the same command goes on once it is there again"
        return UsageError("the scheduler has gone", where=self._address, hint=hint)

    def _compare(self) -> None:
        """See that the workers that are there see the folder, and have this version of convsv.

        That is what figures depend on, and what is kept of them would not say which it was.
        """
        from convsv_cli.cache import fingerprint

        found = self._asked(lambda: self._client.run(_version, self._folder, on_error="return"))
        for worker, said in found.items():
            if isinstance(said, Exception):
                raise UsageError(f"this worker cannot work: {type(said).__name__}: {said}", where=worker)
            if said != fingerprint():
                raise UsageError("this worker has another version of convsv, Python or torch", where=worker)


def work(order: Order, folder: str, notes: str = "") -> Answer:
    """On a worker, one at a time: names of files, and threads of torch, are the whole process's.

    Args:
        order: what is asked for.
        folder: what names of files begin from where they do not begin at the root.
        notes: where to write down what is begun; empty for nowhere.
    """
    with _one_at_a_time, _noted(order, notes) as may_begin:
        if not may_begin:
            return Answer(died=DIED)
        from convsv_cli.spectral.cores import one_thread_each
        from convsv_cli.sweeping.worker import answer

        before = Path.cwd()
        os.chdir(folder)
        try:
            with one_thread_each():
                return answer(order)
        finally:
            os.chdir(before)


@contextmanager
def _noted(order: Order, folder: str) -> Iterator[bool]:
    """Whether an order may begin: not where so many workers have begun and never ended it.

    Of a worker that dies, the note stays, which says for sure that it had begun. Where none can be written,
    nothing is known.
    """
    said = hashlib.sha256(repr((order.path, order.layers, order.plan)).encode()).hexdigest()
    notes = [Path(folder, f"{said}.{number}") for number in range(TRIES)] if folder else []
    own = next(filter(_is_made, notes), None)
    try:
        yield own is not None or not notes or not all(note.exists() for note in notes)
    finally:
        if own is not None:
            with suppress(OSError):
                own.unlink()


def _is_made(note: Path) -> bool:
    try:
        note.touch(exist_ok=False)
    except OSError:
        return False
    return True


def _within(seconds: float, make: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What is made; Dask itself waits for ever for a server that takes the call and says nothing.

    Raises:
        TimeoutError: it takes longer.
    """
    made: Future[Any] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:  # noqa: BLE001  (which the caller raises)
            made.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return made.result(timeout=seconds + GRACE)


def _version(folder: str) -> str:
    """How a worker computes; an error where it does not see the folder."""
    from convsv_cli.cache import fingerprint

    os.scandir(folder).close()
    return fingerprint()
