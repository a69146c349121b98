"""What the machine has that convsv runs on, as far as its system says."""

from __future__ import annotations

import os
from pathlib import Path

CONTROL_GROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")
UNKNOWN = 8 * 2**30
"""Bytes of memory where nothing is said."""


def free_memory() -> int:
    """Bytes of memory that this process could have, as far as the system says."""
    known = [size for size in (_available(), _left_to_container()) if size is not None]
    return min(known, default=UNKNOWN)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _physical()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _left_to_container() -> int | None:
    """What the limits of a control group leave."""
    try:
        limit, used = (Path(name).read_text(encoding="ascii").strip() for name in CONTROL_GROUP)
        return None if limit == "max" else max(0, int(limit) - int(used))
    except (OSError, ValueError):
        return None
