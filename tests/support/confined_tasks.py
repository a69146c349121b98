"""What tests have the child process do."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from convsv_cli.errors import UsageError

seen: list[bytes] = []


def echo(payload: bytes, report) -> bytes:
    report(0.5)
    return payload


def remember(payload: bytes, _report) -> bytes:
    seen.append(payload)
    return b" ".join(seen)


def refuse(_payload: bytes, _report) -> bytes:
    raise UsageError("no", where="here", hint="do that")


def fail(_payload: bytes, _report) -> bytes:
    raise ValueError("a fault")


def sleep(_payload: bytes, _report) -> bytes:
    time.sleep(1000)
    return b""


def spin(_payload: bytes, _report) -> bytes:
    while True:
        pass


def swell(_payload: bytes, _report) -> bytes:
    return bytes(len(bytearray(1 << 31)) >> 30)


def crash(_payload: bytes, _report) -> bytes:
    return ctypes.string_at(0)


def leave(_payload: bytes, _report) -> bytes:
    os._exit(0)


def boast(payload: bytes, _report) -> bytes:
    return bytes(int(payload))


def chatter(_payload: bytes, _report) -> bytes:
    sys.stdout.write("to the user")
    os.write(1, b"to the user")
    os.write(2, b"to the user")
    sys.stderr.write("to the user")
    return b"done"


def reach_out(payload: bytes, _report) -> bytes:
    """Which of these succeed."""
    path = Path(payload.decode())

    def write() -> None:
        (path / "canary").write_text("x")

    attempts = {
        "read": (path / "secret").read_text,
        "write": write,
        "socket": socket.socket,
        "run": lambda: subprocess.run(["true"], check=True),
    }
    done = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        done.append(name)
    return " ".join(done).encode()


def beat(payload: bytes, report) -> bytes:
    """Says its process's number, and then that it lives."""
    Path(payload.decode()).write_text(str(os.getpid()))
    while True:
        report(0.5)
        time.sleep(0.05)
