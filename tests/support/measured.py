"""Run the command line and see what it took: exit code, output, processor time and peak memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
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
        self.socket = Path(self._folder.name, "socket")
        command = [sys.executable, "-m", "tests.support.fork_server", str(self.socket)]
        self._server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._server.stdout.readline()

    def close(self) -> None:
        """End the process that waits for runs."""
        with self._server:
            self._server.stdin.close()
        self._folder.cleanup()

    def run(self, *arguments: str | Path) -> Outcome:
        """What became of `convsv` with these arguments, here and now: in this folder and environment."""
        request = {
            "arguments": [str(argument) for argument in arguments],
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
            "seconds": self._seconds,
            "whole": False,
        }
        out, err = (Path(self._folder.name, name) for name in ("out", "err"))
        with Path(os.devnull).open("rb") as nothing, out.open("wb") as stdout, err.open("wb") as stderr:
            code, seconds, peak = self._asked(request, [nothing, stdout, stderr])
        texts = [path.read_text("utf-8", "surrogateescape") for path in (out, err)]
        return Outcome(code=code, stdout=texts[0], stderr=texts[1], seconds=seconds, peak=peak * RSS_UNIT)

    def _asked(self, request: dict[str, object], streams: list[IO[bytes]]) -> tuple[int, float, int]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            socket.send_fds(connection, [b" "], [stream.fileno() for stream in streams])
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as file:
                code, seconds, peak = json.load(file)
        return code, seconds, peak
