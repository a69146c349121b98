"""Run the command line and see what it took: exit code, output, processor time and peak memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = """
import json, os, resource, subprocess, sys
with subprocess.Popen(json.loads(sys.argv[1]), stdin=subprocess.DEVNULL) as child:
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
unit = 1 if sys.platform == "darwin" else 1024
figures = [child.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit]
os.write(int(sys.argv[2]), json.dumps(figures).encode())
"""
"""A small process in between: Linux counts what a process holds that starts another one as the latter's."""
WALL_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run.

    Attributes:
        code: what it exited with.
        stdout, stderr: what it wrote.
        seconds: of processors, those of its child processes included.
        peak: bytes in memory at most, of it or of one of its child processes.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak: int


def measured(*arguments: str | Path, limit: float = WALL_SECONDS, **environment: str) -> Outcome:
    """`python -m convsv_cli` with these arguments; raises `TimeoutExpired` where it hangs so many seconds."""
    command = [sys.executable, "-m", "convsv_cli", *map(str, arguments)]
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as figures:
        launcher = subprocess.Popen(
            [sys.executable, "-S", "-c", LAUNCHER, json.dumps(command), str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(writing,),
            env={**os.environ, **environment},
            start_new_session=True,
        )
        os.close(writing)
        try:
            written = launcher.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.communicate()
            raise
        code, seconds, peak = json.loads(figures.read())
    stdout, stderr = (text.decode("utf-8", "surrogateescape") for text in written)
    return Outcome(code=code, stdout=stdout, stderr=stderr, seconds=seconds, peak=peak)
