"""What is asked of a server, whatever protocol it speaks, and waiting for one that may never answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from convsv_cli.errors import UnreadableModelError

T = TypeVar("T")
SECONDS = 120.0
"""For one request, all of its answer included."""
STEP = 0.5
"""Seconds at a time, between which Ctrl-C is heard on every platform."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A file, as its server describes it.

    Attributes:
        size: bytes, 0 or more.
        version: what differs when the content does, such as an ETag; empty where the server says nothing.
    """

    size: int
    version: str = ""


class Server(Protocol):
    """A folder of files on a server; names are relative to it.

    Attributes:
        watches: whether `read` itself notices that a file has become another one.
    """

    watches: bool

    def describe(self, name: str) -> Described | None:
        """The file of that name; None where there is none.

        Raises:
            UnreadableModelError: the server does not say.
        """

    def read(self, name: str, start: int, end: int, known: Described) -> bytes:
        """The bytes from one place to another, all of them.

        Raises:
            UnreadableModelError: the server does not give them, or those of another file than is known.
        """

    def names(self) -> Iterator[tuple[str, Described]]:
        """The files in the folder itself.

        Raises:
            UnreadableModelError: the server does not list them.
        """


def changed() -> UnreadableModelError:
    """The error for a file that became another one."""
    return UnreadableModelError("the file was changed while it was read", hint="run it again")


def within(function: Callable[[], T], seconds: float | None = None) -> T:
    """What a function gives, which runs in a thread that nobody waits for longer than that.

    Args:
        function: asks a server.
        seconds: `SECONDS` where it is None.

    Raises:
        UnreadableModelError: it takes longer.
        Exception: as the function.
    """
    limit = SECONDS if seconds is None else seconds
    answers: queue.Queue[tuple[bool, T | BaseException]] = queue.Queue()

    def run() -> None:
        try:
            answers.put((True, function()))
        except BaseException as error:  # noqa: BLE001  (whoever waits raises it)
            answers.put((False, error))

    threading.Thread(target=run, daemon=True).start()
    end = time.monotonic() + limit
    while (left := end - time.monotonic()) > 0:
        try:
            good, found = answers.get(timeout=min(STEP, left))
        except queue.Empty:
            continue
        if isinstance(found, BaseException) and not good:
            raise found
        return found  # type: ignore[return-value]
    raise UnreadableModelError(f"the server did not answer within {limit:g} s", hint="try again later")
