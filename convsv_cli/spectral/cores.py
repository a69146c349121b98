"""Which core does what, on a CPU.

Norms are found in many small steps, in which the threads of one torch operation mostly wait for each
other, the more so where other programs want the cores too; and torch takes milliseconds to change their
number. So all of it runs on one thread, and gives every core whole pieces of its own.
"""

from __future__ import annotations

import os
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

HALVED = 64
"""Rows of Hermitian matrices that are not worth halves."""
_pieces, _lock = 0, threading.Lock()
"""How many maps give every core work of its own just now."""
_process = os.getpid()
"""In a child that was forked from it, OpenMP's threads are missing, and one would wait for them for ever."""

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
    """Within it, a torch operation uses every core, unless others have work of their own.

    For products of large matrices, one after the other: their bits do not depend on it, as eigenvectors' do.
    """
    before, forked = torch.get_num_threads(), os.getpid() != _process
    if before == CORES or _pieces or forked or threading.current_thread().name.startswith(NAME):
        yield
        return
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
    with one_thread_each(), _all_at_work():
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


@contextmanager
def _all_at_work() -> Iterator[None]:
    """Within it, no operation takes all cores."""
    global _pieces  # noqa: PLW0603  (of all threads of the process)
    with _lock:
        _pieces += 1
    try:
        yield
    finally:
        with _lock:
            _pieces -= 1


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """[m, k] times [k, n], by all cores where that is worth it."""
    if CORES < 2 or len(left) * right.numel() < WORTH:
        return left @ right
    with all_threads():
        return left @ right


def squared(matrix: torch.Tensor) -> torch.Tensor:
    """A A* of [p, q], as `hermitian`."""
    return hermitian(matrix, matrix.mH)


def hermitian(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """[p, q] times [q, p], where that is Hermitian but for rounding, for two thirds of the products.

    The lower half of the rows is formed, and what is left of the middle there is mirrored above it; what is
    left is done likewise. So it is Hermitian but for rounding still, which differs.

    What bounds the rounding of entries by sums of moduli, |left| |right|, is the same for an entry and its
    mirror image where these are: so it bounds the rounding here as that of a product in full.
    """
    p = len(left)
    if p <= HALVED:
        full = product(left, right)
        return full.tril() + full.tril(-1).mH
    result, half = left.new_empty(p, p), p // 2
    result[half:] = product(left[half:], right)
    result[:half, half:] = result[half:, :half].mH
    result[:half, :half] = hermitian(left[:half], right[:, :half])
    return result


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CORES - 1, thread_name_prefix=NAME)
