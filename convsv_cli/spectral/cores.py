"""Which core does what, on a CPU.

Norms are found in many small steps, in which the threads of one torch operation mostly wait for each
other, the more so where other programs want the cores too; and torch takes milliseconds to change their
number. So all of it runs on one thread, and gives every core whole pieces of its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

CORES = torch.get_num_threads()
NAME = "convsv-core"
WORTH = 10**7  # multiplications of a product that is worth a second core

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within it, a torch operation uses one thread; best entered once, around everything."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def all_threads() -> Iterator[None]:
    """Within it, a torch operation uses every core: for products of large matrices, one after the other."""
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parallel_map(
    function: Callable[[T], R], items: Sequence[T], progress: Callable[[float], None] = lambda _share: None
) -> list[R]:
    """The function's results; torch lets go of the interpreter while it computes.

    The caller's core takes its share. A function that comes here again on another core gets no further ones:
    it would wait for itself.

    Args:
        function: called with each of the items, on any core.
        items: one piece of work each.
        progress: called with the share of the items that is done, on the core that finished one.
    """
    left = iter(enumerate(items))  # every core takes the next one: an iterator gives each item once
    results: dict[int, R] = {}

    def work() -> None:
        for index, item in left:
            results[index] = function(item)
            progress(len(results) / len(items))

    shared = [work]

    def help_out() -> None:
        shared[0]()

    if len(items) < 2 or CORES < 2 or threading.current_thread().name.startswith(NAME):
        work()
        return list(results.values())
    with one_thread_each():
        others = [_pool().submit(help_out) for _ in range(min(CORES, len(items)) - 1)]
        try:
            work()
        finally:
            deque(left, maxlen=0)  # after an interruption, nothing is left to do
            others = [other for other in others if not other.cancel()]  # whose core has had no time for it
            wait(others)
            shared.clear()  # a core that is busy elsewhere gets rid of what was cancelled only afterwards
        for other in others:
            other.result()
    return [results[index] for index in range(len(items))]


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """[m, k] times [k, n], by rows of the result, some for each core where they are many."""
    if CORES < 2 or len(left) * right.numel() < WORTH:
        return left @ right
    return torch.cat(parallel_map(lambda rows: rows @ right, torch.split(left, -(-len(left) // CORES))))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CORES - 1, thread_name_prefix=NAME)
