"""Waiting for servers, which may never answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from convsv_cli.errors import UnreadableModelError

T = TypeVar("T")
SECONDS = 120.0
"""For one request, all of its answer included."""
STEP = 0.5
"""Seconds at a time, between which Ctrl-C is heard on every platform."""


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
