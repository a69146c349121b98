"""Streams that nobody reads any more, or that were closed before the command began."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from convsv_cli.sanitize import one_line

STREAMS = (0, 1, 2)
"""Descriptors of stdin, stdout and stderr."""


class ReaderGoneError(Exception):
    """Nobody reads stdout any more. No OSError, of which click makes exit code 1: that is a budget's."""


class Commands(click.Group):
    """Commands that raise `ReaderGoneError` for a closed pipe, also where they only print help."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:  # noqa: ANN401
        """As click has it."""
        with _noticing():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """As click has it."""
        with _noticing():
            return super().invoke(ctx)


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


@contextmanager
def _noticing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError from error
