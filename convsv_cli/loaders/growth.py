"""How much a constant may grow by being computed: files of a few bytes can ask for any amount."""

from __future__ import annotations

FREE = 2**23
FACTOR = 16
TOO_LARGE = "a constant expression much larger than what is stored for it"


def outgrows(made: int, stored: int) -> bool:
    """Whether an expression makes too many elements, in all its steps, from so many that are stored."""
    return made > FREE + FACTOR * stored
