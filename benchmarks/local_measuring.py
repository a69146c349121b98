"""What the benchmarks of local certificates share: CPU seconds of one thread, and tables."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import TypeVar

T = TypeVar("T")
Row = Mapping[str, float | int | str]
SECONDS = "seconds are CPU time of one thread (user and system), whatever else the machine does"


def one_thread() -> None:
    """Let this process, and those it starts, use one thread; before torch is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What a call gives, and the CPU seconds of this process and its children."""
    start = _seconds()
    found = call()
    return found, _seconds() - start


def _seconds() -> float:
    used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def show(row: Row, *, head: bool) -> None:
    """Print a row of a table at once, below the names of the columns if asked for."""
    widths = [max(len(name), 9 if isinstance(value, float | int) else 15) for name, value in row.items()]
    cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()]
    for line in (row, cells) if head else (cells,):
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)), flush=True)


def finish(rows: Sequence[Row], path: Path | None) -> None:
    """Say how it was measured, and write JSON where that is wanted."""
    peak = getrusage(RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{SECONDS}; at most {peak:.2f} GB; {time.strftime('%Y-%m-%d')}")
    if path:
        path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
