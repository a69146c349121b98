"""Memory that is no longer used goes back to the system: allocators keep it in pieces, layer after layer."""

from __future__ import annotations

import ctypes
import sys


def trim_heap() -> None:
    """Have the C library return what is free; it does nothing where that is not glibc."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
