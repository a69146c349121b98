"""What runs orders, one after the other or many at once, here or elsewhere."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from convsv_cli.cache import SIZE
from convsv_cli.report import Settings


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
