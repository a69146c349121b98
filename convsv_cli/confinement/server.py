"""The child process and the pipes to it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import IO, cast

from convsv_cli.confinement import frames

IMPORTS = ("convsv_cli.loaders.onnx.confined",)
"""What the child imports before it is asked: most requests want it."""
START = """
import json, sys
sys.path[:], imports = json.loads(sys.argv[1])
from convsv_cli.confinement.child import serve
serve(imports)
"""
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM")}
"""A process with threads of a library must not fork."""
Message = tuple[bytes, bytes]


class StoppedError(Exception):
    """What runs in the child was ended, or ended without an answer; the text says why, as "it ..."."""


class Messages:
    """What comes from the child, as it comes."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Message | StoppedError] = queue.Queue()

    def put(self, message: Message | StoppedError) -> None:
        """From the thread that reads."""
        self._queue.put(message)

    def get(self, seconds: float) -> Message | None:
        """The next one; None where none comes in so long.

        Raises:
            StoppedError: the child died.
        """
        try:
            message = self._queue.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(message, StoppedError):
            raise message
        return message


class Server:
    """A child process that answers one request after the other, or one where there is no fork.

    It has a group of processes of its own: Ctrl-C is for the parent, which ends all of them.
    """

    def __init__(self) -> None:
        path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  (as the import system has it)
        arguments = [sys.executable, "-I", "-c", START, json.dumps([path, IMPORTS])]
        try:
            self._process = subprocess.Popen(  # noqa: S603  (this Python, and nothing of a model)
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise StoppedError(f"its process does not start: {error}") from error

    def ask(self, request: bytes, payload: bytes, most: int) -> Messages:
        """The messages with which a request is answered, none of them longer than `most` bytes."""
        messages = Messages()
        threading.Thread(target=self._talk, args=(request, payload, most, messages), daemon=True).start()
        return messages

    def close(self) -> None:
        """End it, whatever it does."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close() if stream else None

    def _talk(self, request: bytes, payload: bytes, most: int, messages: Messages) -> None:
        requests, answers = (cast("IO[bytes]", s) for s in (self._process.stdin, self._process.stdout))
        try:
            frames.send(requests, frames.REQUEST, request)
            frames.send(requests, frames.PAYLOAD, payload)
            kind = frames.PROGRESS
            while kind == frames.PROGRESS:
                kind, answer = frames.receive(answers, most)
                messages.put((kind, answer))
        except OverflowError:
            messages.put(StoppedError("its answer is too long"))
        except (OSError, EOFError, ValueError):
            messages.put(StoppedError(_end(self._process.wait())))


def _end(code: int) -> str:
    if code >= 0:
        return f"its process ended with {code}"
    if os.name == "posix" and -code == signal.SIGXCPU:
        return "it took too much processor time"
    return f"its process was killed by signal {-code}"
