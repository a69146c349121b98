"""What the machine has that convsv runs on, as far as its system says."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

CONTROL_GROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")
UNKNOWN = 8 * 2**30
"""Bytes of memory where nothing is said."""
KEPT = 2**25
"""Bytes of a block that is asked of the system by itself, and given back as soon as it is free."""
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""What glibc calls these, in malloc.h."""


def free_memory() -> int:
    """Bytes of memory that this process could have, as far as the system says."""
    known = [size for size in (_available(), _left_to_container()) if size is not None]
    return min(known, default=UNKNOWN)


def file_state(path: Path) -> tuple[int, ...]:
    """What says whether a file was changed, without reading it, as version control looks at it.

    Size, both times in nanoseconds, and inode; nothing of one that is not there.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def regular(path: Path) -> BinaryIO:
    """A file that is read, and no link, pipe or device, with which one might wait for ever.

    Raises:
        OSError, ValueError: it is none.
    """
    names = ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
    flags = sum(getattr(os, name, 0) for name in names)  # each system has its own
    handle = os.open(path, flags)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise ValueError("no regular file")


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def private_memory() -> int:
    """Bytes that this process has for itself, where the system says; else 0."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)


def limit_memory(more: float) -> None:
    """Let this process have no more than so many bytes beyond what it has, where the system can."""
    if sys.platform == "win32":
        return
    import resource

    most = private_memory() + int(more)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(
        resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
    )


def keep_freed() -> bool:
    """Have glibc keep what is freed, from now on: else each tensor is asked of the system, and cleared by it.

    It would come to keep as much by itself, once a block of that size had been freed.

    Returns:
        Whether it will: elsewhere, nothing is changed.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(tune and tune(MMAP_THRESHOLD, KEPT) and tune(TRIM_THRESHOLD, 2 * KEPT))


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
