"""Sends work to the child process, waits no longer than the limit, and ends it where it must."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

from convsv_cli import errors
from convsv_cli.confinement import frames
from convsv_cli.confinement.limits import Limits
from convsv_cli.confinement.server import Server, StoppedError

__all__ = ["StoppedError", "confined", "prepare"]
WAIT = 0.5
"""Seconds at a time, between which Ctrl-C is heard on every platform."""
_lock = threading.RLock()
_servers: dict[int, Server] = {}
"""The child that waits, by the process that started it: after a fork, the pipes are the other one's."""


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
        if not hasattr(os, "fork"):
            _close()
    if kind == frames.RESULT:
        return answer
    raise _error(kind, answer, limits)


def _exchange(
    server: Server, request: bytes, payload: bytes, limits: Limits, progress: Callable[[float], None]
) -> tuple[bytes, bytes]:
    """The last message; of those before, `progress` is told."""
    end = time.monotonic() + limits.seconds
    messages = server.ask(request, payload, limits.answer)
    while True:
        message = messages.get(min(WAIT, max(0.0, end - time.monotonic())))
        if message is None and time.monotonic() >= end:
            raise StoppedError(f"it took more than {limits.seconds:g} s")
        if message is None:
            continue
        kind, answer = message
        if kind == frames.PROGRESS:
            progress(float(answer))
            continue
        return kind, answer


def _error(kind: bytes, answer: bytes, limits: Limits) -> Exception:
    if kind == frames.REFUSAL:
        fields = json.loads(answer)
        cls: type[errors.ConvsvError] = getattr(errors, fields.pop("class"))
        return cls(fields["what"], where=fields["where"], hint=fields["hint"])
    if kind == frames.EXHAUSTED:
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
