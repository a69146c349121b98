"""Run the command line and see what it took: exit code, output, processor time and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SERVER = """
import json, os, resource, signal, sys
import convsv_cli.api, convsv_cli.loaders.checkpoint.reading, convsv_cli.loaders.onnx.reading
from convsv_cli.cli import main

def run(arguments, out, err, seconds, folder, environment):
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    signal.alarm(seconds)
    sys.argv = ["convsv", *arguments]
    main()

for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
        code = 70
        try:
            run(**request)
        except SystemExit as end:
            code = end.code or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    print(json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss]), flush=True)
"""
"""A process that has imported what it needs, and goes on as a new one for each run. It has to be small: what
Linux says of a process's memory begins with what its parent held when it was born."""
SECONDS = 60
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run.

    Attributes:
        code: what it exited with; negative where a signal ended it, such as the alarm after `SECONDS`.
        stdout, stderr: what it wrote.
        seconds: of processors; child processes, which have limits of their own, count if it waits for them.
        peak: bytes in memory at most, of it or of one of those.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak: int


class Runner:
    """Runs the command line, each time in a process of its own, without the second that imports take."""

    def __init__(self, seconds: int = SECONDS) -> None:
        self._seconds = seconds
        self._folder = tempfile.TemporaryDirectory()
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """End the process that waits for runs."""
        with self._server:
            self._server.stdin.close()
        self._folder.cleanup()

    def run(self, *arguments: str | Path) -> Outcome:
        """What became of `convsv` with these arguments, here and now: in this folder and environment."""
        out, err = (Path(self._folder.name, name) for name in ("out", "err"))
        request = {
            "arguments": [str(argument) for argument in arguments],
            "out": str(out),
            "err": str(err),
            "seconds": self._seconds,
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
        }
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        code, seconds, peak = json.loads(self._server.stdout.readline())
        stdout, stderr = (path.read_text("utf-8", "surrogateescape") for path in (out, err))
        return Outcome(code=code, stdout=stdout, stderr=stderr, seconds=seconds, peak=peak * RSS_UNIT)
