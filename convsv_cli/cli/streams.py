"""Standard streams: open, written whole, and in characters that their encoding has."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

PLAIN = "convsv-plain"
SIGNS = {
    "≤": "<=", "≥": ">=", "→": "->", "×": "x", "·": "|", "…": "...", "√": "sqrt", "‖": "||", "│": "|",
    "\u03c3": "sigma", "ε": "eps", "∞": "inf", "\u2013": "-", "\u2014": "-", "\u2212": "-",
}  # fmt: skip
"""What stands for signs that an encoding lacks."""
STREAMS = (0, 1, 2)
"""Descriptors of stdin, stdout and stderr."""


def prepare_streams() -> None:
    """Have every stream be open, and stdout be written whole or be an error.

    The next files that are opened would take the place of streams that are closed. Without a buffer, as
    PYTHONUNBUFFERED asks for, Python forgets what a pipe that closes in the middle did not take. What an
    encoding lacks is written in ASCII: lines of tables, and signs like the one for "at most".
    """
    for descriptor in STREAMS:
        if not _is_open(descriptor):
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free, which is this one
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper):
        return
    if out is sys.__stdout__ and isinstance(out.buffer, io.RawIOBase):
        sys.stdout = out = open(out.fileno(), "w", encoding=out.encoding, closefd=False)  # noqa: SIM115
    codecs.register_error(PLAIN, _plainly)
    out.reconfigure(errors=PLAIN)


def give_up(stream: TextIO | None) -> None:
    """Redirect a stream to nowhere, as Python would complain again at exit about what it still holds."""
    with suppress(AttributeError, OSError, ValueError):  # none, or none of the operating system
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[union-attr]


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks; as codecs want it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if character in SIGNS:
        return SIGNS[character]
    if "\u2500" <= character <= "\u259f":  # lines of boxes, then blocks
        return "-" if character < "\u2580" else "#"
    return character.encode("ascii", "backslashreplace").decode()


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
