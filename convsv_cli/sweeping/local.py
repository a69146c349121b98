"""Orders in processes of this machine: one dies, and only the model that it was about is to blame."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing.connection import wait

from convsv_cli.holding import scratch
from convsv_cli.machine import cores, limit_memory
from convsv_cli.sweeping.executor import Answer, Order

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What libraries read when they are loaded."""
DIED = "its process ended without an answer: killed by the system, or by the file"


class LocalExecutor:
    """A process per slot, which is started again where it has died.

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
