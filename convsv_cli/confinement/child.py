"""What the child process does: it waits for requests, and has a process of its own run each of them."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Callable
from typing import IO

from convsv_cli.confinement import protocol
from convsv_cli.confinement.protocol import Limits
from convsv_cli.errors import ConvsvError
from convsv_cli.machine import private_memory

Report = Callable[[float], None]
Task = Callable[[bytes, Report], bytes]
"""What runs confined: bytes to bytes, and it may report the share that is done."""


def serve(imports: list[str]) -> None:
    """Answer requests until there are no more, or one of them ends badly: then in the way that it did."""
    requests, answers = _own_streams()
    for module in imports:
        importlib.import_module(module)
    while True:
        try:
            _, header = protocol.receive(requests, 1 << 20)
            _, payload = protocol.receive(requests, 1 << 40)
        except EOFError:
            return
        if not protocol.FORKS:
            _run(json.loads(header), payload, answers)
            return
        child = os.fork()
        if not child:
            _run(json.loads(header), payload, answers)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            _end_like(status)


def _own_streams() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes from and to the parent, where nothing that a library prints can get."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    return requests, answers


def _end_like(status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code)


def _run(request: dict[str, object], payload: bytes, answers: IO[bytes]) -> None:
    """One request, to one last message."""
    module, _, function = str(request["task"]).partition(":")
    try:
        task: Task = getattr(importlib.import_module(module), function)
        confine(Limits(**request["limits"]))  # type: ignore[arg-type]
        kind, answer = protocol.RESULT, task(payload, lambda share: _report(answers, share))
    except ConvsvError as error:
        fields = {"class": type(error).__name__, "what": error.what, "where": error.where, "hint": error.hint}
        kind, answer = protocol.REFUSAL, json.dumps(fields).encode()
    except MemoryError:
        kind, answer = protocol.EXHAUSTED, b""
    except Exception as error:  # noqa: BLE001  (whatever it is, the parent decides)
        kind, answer = protocol.FAILURE, f"{type(error).__name__}: {error}".encode("utf-8", "replace")
    protocol.send(answers, kind, answer)


def _report(answers: IO[bytes], share: float) -> None:
    protocol.send(answers, protocol.PROGRESS, repr(share).encode())


def confine(limits: Limits) -> None:
    """Keep this process, for good, to its limits and from writing files, as far as the platform can."""
    try:
        import resource
    except ImportError:  # see `lacking`
        return
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CPU: limits.processor,
        resource.RLIMIT_DATA: private_memory() + limits.memory,
    }
    if not limits.reads:
        wanted[resource.RLIMIT_NOFILE] = 0
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        above = most + 1 if kind == resource.RLIMIT_CPU and most != hard else most  # the soft one has a name
        resource.setrlimit(kind, (most, above))
