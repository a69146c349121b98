"""What runs orders, one after the other or many at once: processes of this machine, or others elsewhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol

from convsv_cli.cache import SIZE
from convsv_cli.holding import scratch
from convsv_cli.machine import cores, limit_memory
from convsv_cli.report import Settings

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What libraries read when they are loaded."""
DIED = "its process ended without an answer: killed by the system, or by the file"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker is asked for: of one model, the plan, the figures of some layers, or the audit.

    Attributes:
        path: of the model, which the worker can open.
        settings: as for one audit.
        cache: folder of the cache; empty for none.
        cache_mode, cache_size: see `cache.open_cache`.
        limits: see `limits.granted`.
        graph: of checkpoints, which the worker can open; empty for none.
        layers: names of those whose figures are wanted; empty for the audit of the whole.
        known: entries of a cache that other orders have found.
        plan: only the work of each layer is wanted.
    """

    path: str
    settings: Settings
    cache: str = ""
    cache_mode: str = ""
    cache_size: float = SIZE
    limits: tuple[float | None, float | None] = (None, None)
    graph: str = ""
    layers: tuple[str, ...] = ()
    known: tuple[tuple[str, bytes], ...] = ()
    plan: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of an order.

    Attributes:
        document: JSON of the report on the model, with one audit or one failure; empty for other orders.
        work: of each layer by name, where the plan was asked for.
        known: entries for the cache, where the figures of layers were asked for.
        files: paths of those that were read.
        layers: how many rows the report has.
        died: why the worker ended without an answer; empty where it has one.
        rejected: entries of the cache that are not to be believed.
        unkept: why what is new was not kept in the cache; empty where it was.
    """

    document: bytes = b""
    work: tuple[tuple[str, float], ...] = ()
    known: tuple[tuple[str, bytes], ...] = ()
    files: tuple[str, ...] = ()
    layers: int = 0
    died: str = ""
    rejected: int = 0
    unkept: str = ""


class Executor(Protocol):
    """Runs orders.

    Attributes:
        slots: how many it runs at once.
        waiting: how many more are worth being submitted, so that no slot is without work: others take memory.
    """

    @property
    def waiting(self) -> int:
        """How many orders may wait for a slot."""

    @property
    def slots(self) -> int:
        """How many orders run at once."""

    def submit(self, order: Order) -> Future[Answer]:
        """Have an order run; its answer never is an exception, but where all work is being stopped."""

    def close(self) -> None:
        """End all work at once; what runs is given up."""


def size_of(path: str) -> int:
    """Bytes of a file, which is about what auditing it costs; 0 where there is none."""
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return 0


class LocalExecutor:
    """A process per slot, which is started again where it has died: only the model it was about is to blame.

    Args:
        jobs: slots; 0 for one per core.
        memory: bytes that each process may have beyond what it has when it begins; None for no limit.
    """

    def __init__(self, jobs: int = 0, memory: float | None = None) -> None:
        self._memory = memory
        self._ending = ExitStack()
        self._scratch = str(self._ending.enter_context(scratch()))
        self._slots = jobs or cores()
        self._threads = ThreadPoolExecutor(self._slots)
        self._own = threading.local()
        self._pools: set[ProcessPoolExecutor] = set()
        self._lock, self._closed = threading.Lock(), False

    @property
    def slots(self) -> int:
        """How many orders run at once."""
        return self._slots

    @property
    def waiting(self) -> int:
        """One or two, which are there when a worker has ended another."""
        return 2

    def submit(self, order: Order) -> Future[Answer]:
        """See `Executor`."""
        return self._threads.submit(self._answer, order)

    def close(self) -> None:
        """See `Executor`."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._closed = True
            pools = list(self._pools)
        for pool in pools:
            for process in list((pool._processes or {}).values()):  # noqa: SLF001  (there is no other way)
                process.kill()
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)
        self._threads.shutdown(wait=True)
        self._ending.close()

    def _answer(self, order: Order) -> Answer:
        try:
            with self._lock:  # no process begins once all of them are being ended
                if self._closed:
                    return Answer(died=DIED)
                answer = self._own_pool().submit(_work, order)
            return answer.result()
        except BrokenProcessPool:
            with self._lock:
                self._pools.discard(self._own.pool)
            self._own.pool = None
            return Answer(died=DIED)

    def _own_pool(self) -> ProcessPoolExecutor:
        """The one process of this thread, which begins when it is first asked."""
        pool: ProcessPoolExecutor | None = getattr(self._own, "pool", None)
        if pool is None:
            context = multiprocessing.get_context("spawn")
            asked = self._memory, max(1, cores() // self._slots), self._scratch
            pool = self._own.pool = ProcessPoolExecutor(1, context, _begin, asked)
            self._pools.add(pool)
        return pool


def _begin(memory: float | None, threads: int, scratch: str) -> None:
    """What a process does first: Ctrl-C is for the one that started it, and without that it ends.

    That one also removes the folder for temporary files, as this process may be killed.
    """
    tempfile.tempdir = scratch
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from convsv_cli.sweeping import worker  # noqa: F401  (which takes seconds)

    if memory is not None:
        limit_memory(memory)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(order: Order) -> Answer:
    from convsv_cli.sweeping.worker import answer

    return answer(order)
