"""How far an audit has come."""

from __future__ import annotations

from collections.abc import Callable


class Meter:
    """Adds up the work done and tells a listener."""

    def __init__(self, listener: Callable[[str, float], None] | None, total: int) -> None:
        self._listener = listener
        self._total = max(total, 1)
        self._done = 0
        self._layer = ""

    def start(self, layer: str) -> None:
        """Work on this layer begins."""
        self._layer = layer
        self.advance(0)

    def advance(self, work: int) -> None:
        """So much more work is done."""
        self._done += work
        if self._listener is not None:
            self._listener(self._layer, min(1.0, self._done / self._total))
