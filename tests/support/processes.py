"""Which processes there are."""

from __future__ import annotations

import subprocess
import time


def children(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = (map(int, line.split()) for line in listed.stdout.splitlines())
    return [own for own, above in pairs if above == parent]


def ends(process: int, seconds: float = 10) -> bool:
    """Whether it is gone by then, or dead and only waits for its parent to notice."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        listed = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
        )
        if not listed.stdout.strip() or listed.stdout.startswith("Z"):
            return True
        time.sleep(0.1)
    return False
