"""Times, memory, the machine they are measured on, and tables of them."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import onnx
import torch
from rich.table import Table

from convsv_cli.version import __version__

T = TypeVar("T")
Cell = str | int | float | None
Row = dict[str, Cell]
ENOUGH_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Timed(Generic[T]):
    """A result, and the least wall time of the runs that it took."""

    result: T
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table. Rows have the same keys; a key that ends in `_s` holds seconds, in `_x` a ratio of times."""

    title: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def timed(call: Callable[[], T], runs: int = 5) -> Timed[T]:
    """The best of `runs` runs; as soon as they have taken some seconds, of fewer."""
    times: list[float] = []
    while not times or (len(times) < runs and sum(times) < ENOUGH_SECONDS):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return Timed(result=result, seconds=min(times))


def reset_peak() -> None:
    """Let the peak of this process's memory start again from what it holds now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """The most memory that this process has held since `reset_peak`.

    Read from the kernel, because torch's tensors do not come from Python's allocator. `ru_maxrss` would be no
    substitute: it cannot be reset, and a child inherits it from the process that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise RuntimeError("the kernel does not tell the peak of this process's memory")
    return 1024 * int(found.group(1))


def machine() -> dict[str, Any]:
    """What the times depend on."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "convsv": __version__,
        "numpy": f"{np.__version__}, {blas['name']} {blas['version']}",
        "torch": torch.__version__,
        "onnx": onnx.__version__,
    }


def table(section: Section) -> Table:
    """The section as a table."""
    result = Table(
        title=section.title,
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for key, example in section.rows[0].items():
        heading = re.sub(r"_[sx]$", "", key).replace("_", " ")
        unit = {"_s": " s", "_x": " x"}.get(key[-2:], "")
        result.add_column(heading + unit, justify="left" if isinstance(example, str) else "right")
    for row in section.rows:
        result.add_row(*(_text(key, cell) for key, cell in row.items()))
    return result


def progress(text: str) -> None:
    """Say on stderr what is being measured."""
    print(f"... {text}", file=sys.stderr, flush=True)


def _text(key: str, cell: Cell) -> str:
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    if key.endswith("_s"):
        return f"{cell:.4f}" if cell < 1 else f"{cell:.2f}"
    if key.endswith("_x"):
        return f"{cell:.3g}"
    return f"{cell:.1e}" if abs(cell) < 1e-3 else f"{cell:.8g}"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.processor() or "unknown"
