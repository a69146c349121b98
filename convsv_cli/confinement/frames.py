"""Messages through a pipe: a letter that says what kind they are, their length, and bytes."""

from __future__ import annotations

import struct
from typing import IO

REQUEST, PAYLOAD = b"Q", b"B"
"""To the child: limits and what to run, as JSON; then what it runs on."""
PROGRESS, RESULT, REFUSAL, FAILURE, EXHAUSTED = b"P", b"R", b"E", b"F", b"M"
"""From it: a share; bytes; a `ConvsvError` as JSON; any other exception as text; memory was not enough."""
HEAD = struct.Struct(">cQ")


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
