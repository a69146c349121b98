"""Ctrl-C, also where it comes while a library is imported: some of them make another error of it."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_heard = threading.Event()


def listen() -> None:
    """Remember interrupts from now on, unless the caller has its own way with them."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def heard() -> bool:
    """Whether there was one."""
    return _heard.is_set()


def _interrupt(number: int, frame: FrameType | None) -> None:
    _heard.set()
    signal.default_int_handler(number, frame)
