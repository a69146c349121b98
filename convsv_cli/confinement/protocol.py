"""What passes between the two processes: requests with their limits, and messages through a pipe.

A message is a letter that says what kind it is, its length, and bytes.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from typing import IO

MB = 1 << 20
FORKS = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether the child forks for each request."""
NOT_LIMITED = "this system has no limit on {} of the process that reads the file; that on elapsed time holds"
REQUEST, PAYLOAD = b"Q", b"B"
"""To the child: limits and what to run, as JSON; then what it runs on."""
PROGRESS, RESULT, REFUSAL, FAILURE, EXHAUSTED = b"P", b"R", b"E", b"F", b"M"
"""From it: a share; bytes; a `ConvsvError` as JSON; any other exception as text; memory was not enough."""
HEAD = struct.Struct(">cQ")


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


def lacking() -> tuple[str, ...]:
    """What users should know of limits that this system does not have, or does not keep."""
    try:
        import resource  # noqa: F401
    except ImportError:
        return (NOT_LIMITED.format("memory, processor time and open files"),)
    return (NOT_LIMITED.format("the memory"),) if sys.platform == "darwin" else ()


def send(stream: IO[bytes], kind: bytes, data: bytes) -> None:
    """Write one message."""
    stream.write(HEAD.pack(kind, len(data)))
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes], most: int) -> tuple[bytes, bytes]:
    """Kind and content of the next message.

    Raises:
        EOFError: there is none, or not all of it.
        OverflowError: it is longer than `most` bytes.
    """
    kind, length = HEAD.unpack(_exactly(stream, HEAD.size))
    if length > most:
        raise OverflowError(f"a message of {length} bytes")
    return kind, _exactly(stream, length)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise EOFError
    return data
