"""What the models of one piece of work may take, in proportion to the size of their files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from convsv_cli.machine import free_memory

GIB = 2**30
MEMORY = 4 * GIB
"""Bytes that one step may take, whatever the file."""
SMALL_MEMORY, MEMORY_PER_BYTE = GIB // 2, 64
"""Bytes for a file of none, and for each of its bytes."""
STEPS, STEPS_PER_BYTE = 2e9, 64.0
"""Steps for a file of no bytes, and for each of its bytes: a few seconds, and as long as reading it takes."""
PRODUCTS, PRODUCTS_PER_BYTE, SMALL_FILE = 4e11, 1.2e6, 2**20
"""Multiplications for the bounds of a small file, some twenty seconds, and for each byte of a larger one:
more than layers take whose searches end. What takes longer than its multiplications counts as more."""


@dataclass
class Allowance:
    """What the models that are worked on may take.

    Attributes:
        asked_memory, asked_steps: what users grant instead of what suits the files; None where they do not.
        free: bytes of memory that this process could have when work began.
        files: bytes of each file that was opened.
        states: what says whether one of them has changed since.
        spent: steps so far.
        multiplied: multiplications for bounds so far.
        patience: how many times as many as usual these may be.
    """

    asked_memory: float | None = None
    asked_steps: float | None = None
    free: int = field(default_factory=lambda: free_memory())  # noqa: PLW0108  (which tests replace)
    files: dict[Path, int] = field(default_factory=dict)
    states: dict[Path, tuple[int, ...]] = field(default_factory=dict)
    spent: float = 0.0
    multiplied: float = 0.0
    patience: float = 1.0

    @property
    def stored(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    @property
    def memory(self) -> float:
        """Bytes that one step may take."""
        if self.asked_memory is not None:
            return self.asked_memory
        return min(MEMORY, self.free // 2, SMALL_MEMORY + MEMORY_PER_BYTE * self.stored)

    @property
    def steps(self) -> float:
        """Steps that all may take."""
        return self._usual_steps if self.asked_steps is None else self.asked_steps

    @property
    def products(self) -> float:
        """Multiplications that all bounds may take: in proportion more where more steps are granted."""
        usual = PRODUCTS + PRODUCTS_PER_BYTE * max(0, self.stored - SMALL_FILE)
        return usual * self.patience * self.steps / self._usual_steps

    @property
    def _usual_steps(self) -> float:
        return STEPS + STEPS_PER_BYTE * self.stored

    @property
    def scale(self) -> float:
        """How many times as many objects as usual there may be."""
        return 1.0 if self.asked_memory is None else max(1.0, self.asked_memory / MEMORY)
