"""Work on what strangers wrote, in a child process that may fail, with time and memory limits.

Code in C++ that reads a model may crash, never return, or want all memory there is. It runs in a process of
its own, which has what it was sent, and gives back bytes.

On POSIX, one child that has imported what it needs waits for requests, and forks for each of them: nothing is
left of a file when the next one comes. Where there is no fork, or system libraries do not bear one (macOS),
each request has a fresh child. The limits on memory, processor time and files are those of the `resource`
module: Windows has none of them, and macOS does not keep the one on memory, as `lacking` says. The limit on
elapsed time, and that a crash harms nobody, hold everywhere.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import IO, cast

from convsv_cli import errors
from convsv_cli.confinement import protocol
from convsv_cli.confinement.protocol import MB, Limits, lacking

__all__ = ["MB", "Limits", "StoppedError", "confined", "lacking", "prepare"]
IMPORTS = ("convsv_cli.loaders.onnx.confined", "onnx.reference.ops._op_list")
"""What the child imports before it is asked: requests want it, and once confined it may open no file."""
START = """
import json, sys
sys.path[:], imports = json.loads(sys.argv[1])
from convsv_cli.confinement.child import serve
serve(imports)
"""
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM")}
"""A process with threads of a library must not fork."""
OWN_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""As a new session is on POSIX: Ctrl-C is for the parent."""
WAIT = 0.5
"""Seconds at a time, between which Ctrl-C is heard on every platform."""
_lock = threading.RLock()
_servers: dict[int, Server] = {}
"""The child that waits, by the process that started it: after a fork, the pipes are the other one's."""


class StoppedError(Exception):
    """What runs in the child was ended, or ended without an answer; the text says why, as "it ..."."""


Answers = queue.Queue["tuple[bytes, bytes] | StoppedError"]
"""Kind and content of each message from a child, or how it ended."""


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
                creationflags=OWN_GROUP,
            )
        except (OSError, ValueError) as error:
            raise StoppedError(f"its process did not start: {error}") from error

    def ask(self, request: bytes, payload: bytes, most: int) -> Answers:
        """What a request is answered with, as it comes; no message is longer than `most` bytes."""
        answers: Answers = queue.Queue()
        threading.Thread(target=self._talk, args=(request, payload, most, answers), daemon=True).start()
        return answers

    def close(self) -> None:
        """End it, whatever it does."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close() if stream else None

    def _talk(self, request: bytes, payload: bytes, most: int, answers: Answers) -> None:
        to_child, from_child = (cast("IO[bytes]", s) for s in (self._process.stdin, self._process.stdout))
        try:
            protocol.send(to_child, protocol.REQUEST, request)
            protocol.send(to_child, protocol.PAYLOAD, payload)
            kind = protocol.PROGRESS
            while kind == protocol.PROGRESS:
                kind, answer = protocol.receive(from_child, most)
                answers.put((kind, answer))
        except OverflowError:
            answers.put(StoppedError("its answer is too long"))
        except (OSError, EOFError, ValueError):
            answers.put(StoppedError(_end(self._process.wait())))


def _end(code: int) -> str:
    if code >= 0:
        return f"its process ended with {code}"
    if -code == getattr(signal, "SIGXCPU", None):
        return "it took too much processor time"
    return f"its process was killed by signal {-code}"


def prepare() -> None:
    """Start the child, if there is none, so that it imports while this process does something else."""
    with _lock, contextlib.suppress(StoppedError):
        _server()


def confined(
    task: str, payload: bytes, limits: Limits, progress: Callable[[float], None] = lambda _share: None
) -> bytes:
    """The result of a function "module:name" of (payload, report), run in a child process.

    Raises:
        ConvsvError: as the function raised it.
        StoppedError: it reached a limit, or its process died.
        RuntimeError: it raised another exception, which the message names.
    """
    request = json.dumps({"task": task, "limits": asdict(limits)}).encode()
    with _lock:
        server = _server()
        try:
            kind, answer = _exchange(server, request, payload, limits, progress)
        except BaseException:
            _close()
            raise
        if not protocol.FORKS:
            _close()
    if kind == protocol.RESULT:
        return answer
    raise _error(kind, answer, limits)


def _exchange(
    server: Server, request: bytes, payload: bytes, limits: Limits, progress: Callable[[float], None]
) -> tuple[bytes, bytes]:
    """The last message; the shares that come before it go to `progress`."""
    end = time.monotonic() + limits.seconds
    answers = server.ask(request, payload, limits.answer)
    while True:
        try:
            message = answers.get(timeout=min(WAIT, max(0.0, end - time.monotonic())))
        except queue.Empty:
            if time.monotonic() >= end:
                raise StoppedError(f"it took more than {limits.seconds:g} s") from None
            continue
        if isinstance(message, StoppedError):
            raise message
        kind, answer = message
        if kind != protocol.PROGRESS:
            return message
        progress(float(answer))


def _error(kind: bytes, answer: bytes, limits: Limits) -> Exception:
    if kind == protocol.REFUSAL:
        fields = json.loads(answer)
        cls: type[errors.ConvsvError] = getattr(errors, fields.pop("class"))
        return cls(fields["what"], where=fields["where"], hint=fields["hint"])
    if kind == protocol.EXHAUSTED:
        return StoppedError(f"it needed more than {limits.memory / 2**30:.1f} GB of memory")
    return RuntimeError(answer.decode("utf-8", "replace"))


def _server() -> Server:
    own = os.getpid()
    for other in [pid for pid in _servers if pid != own]:
        del _servers[other]
    if own not in _servers:
        _servers[own] = Server()
    return _servers[own]


@atexit.register
def _close() -> None:
    server = _servers.pop(os.getpid(), None)
    if server is not None:
        server.close()
