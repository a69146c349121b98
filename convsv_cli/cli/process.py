"""Streams and signals of the process: what is closed, or nobody reads any more, and Ctrl-C."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import TextIO

import click

from convsv_cli.names import one_line

STREAMS = (0, 1, 2)
"""Descriptors of stdin, stdout and stderr."""
_interrupted = threading.Event()


def prepare() -> None:
    """Have every stream be open, and stdout be written whole or be an error.

    The next files that are opened would take the place of streams that are closed. Without a buffer, as
    PYTHONUNBUFFERED asks for, Python forgets what a pipe that closes in the middle did not take.
    """
    for descriptor in STREAMS:
        if not _is_open(descriptor):
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free, which is this one
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper):
        return
    if out is sys.__stdout__ and isinstance(out.buffer, io.RawIOBase):
        sys.stdout = out = open(out.fileno(), "w", encoding=out.encoding, closefd=False)  # noqa: SIM115
    out.reconfigure(errors="backslashreplace")


def complain(message: str) -> None:
    """One line on stderr; where nobody reads that, the exit code says enough."""
    try:
        click.echo(f"convsv: {one_line(message)}", err=True)
    except OSError:
        give_up(sys.stderr)


def flush() -> None:
    """Write what stdout still holds.

    Raises:
        OSError: it cannot be written.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def give_up(stream: TextIO | None) -> None:
    """Have a stream go nowhere, as Python would complain at exit once more of what it still holds."""
    with suppress(AttributeError, OSError, ValueError):  # none, or none of the operating system
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[union-attr]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def listen() -> None:
    """Remember Ctrl-C from now on, unless the caller has its own way with it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def interrupted() -> bool:
    """Whether there was one: some libraries make another error of it while they are imported."""
    return _interrupted.is_set()


def _interrupt(number: int, frame: FrameType | None) -> None:
    _interrupted.set()
    signal.default_int_handler(number, frame)
