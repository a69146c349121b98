"""What a child may use."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

MB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one request.

    Attributes:
        seconds: elapsed.
        processor: seconds of processor time.
        memory: bytes beyond what the child has before it begins.
        answer: bytes of what it gives back.
        reads: it may open files, to read them; without that, it can open nothing, sockets included.
    """

    seconds: float
    processor: int
    memory: int
    answer: int = 16 * MB
    reads: bool = False


def confine(limits: Limits) -> None:
    """Keep this process, for good, to its limits and from writing files, as far as the platform can."""
    if sys.platform == "win32":
        return
    import resource

    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CPU: limits.processor,
        resource.RLIMIT_DATA: _data() + limits.memory,
    }
    if not limits.reads:
        wanted[resource.RLIMIT_NOFILE] = 0
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        above = most + 1 if kind == resource.RLIMIT_CPU and most != hard else most  # the soft one has a name
        resource.setrlimit(kind, (most, above))


def _data() -> int:
    """Bytes of private memory that this process has, where the system says."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)
