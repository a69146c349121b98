"""What the models of one piece of work may take, in proportion to the size of their files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import ROUND_UP
from pathlib import Path

from convsv_cli.digits import short
from convsv_cli.machine import free_memory

GIB = 2**30
PLAUSIBLE = 1e13
"""Steps that a user might grant: hours."""
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
        sharers: how many pieces of work take memory at a time.
        start: steps and multiplications so far when a trial of what is ahead began; None for what is none.
        refused: whether a trial asked for what it could not have.
    """

    asked_memory: float | None = None
    asked_steps: float | None = None
    free: int = field(default_factory=lambda: free_memory())  # noqa: PLW0108  (which tests replace)
    files: dict[Path, int] = field(default_factory=dict)
    states: dict[Path, tuple[int, ...]] = field(default_factory=dict)
    spent: float = 0.0
    multiplied: float = 0.0
    patience: float = 1.0
    sharers: int = 1
    start: tuple[float, float] | None = None
    refused: bool = False

    @property
    def stored(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    @property
    def memory(self) -> float:
        """Bytes that one step may take."""
        if self.asked_memory is not None:
            return self.asked_memory / self.sharers
        return min(MEMORY, self.free // 2, SMALL_MEMORY + MEMORY_PER_BYTE * self.stored) / self.sharers

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

    def trial(self, sharers: int, share: float) -> Allowance:
        """For work ahead of its turn: it begins where half of what is left has been taken.

        Whatever it is granted so, it would be granted in its turn as well, if that comes before this.

        Args:
            sharers: how many such pieces of work there are at a time.
            share: of all multiplications that the work may take, with all before it.
        """
        spent = max(self.spent, (self.spent + self.steps) / 2)
        multiplied = max(self.multiplied, (self.multiplied + share * self.products) / 2)
        start = spent, multiplied
        return replace(self, spent=spent, multiplied=multiplied, sharers=sharers, start=start, refused=False)

    def takes(self, trial: Allowance) -> bool:
        """Whether a trial has done what its turn, which is now, would have done; then what it took counts."""
        spent, multiplied = trial.start or (0.0, 0.0)
        if trial.refused or self.spent > spent or self.multiplied > multiplied:
            return False
        self.spent += trial.spent - spent
        self.multiplied += trial.multiplied - multiplied
        return True


def readable(size: float) -> str:
    """Bytes, in units that suit them."""
    for unit, factor in (("GiB", GIB), ("MiB", 2**20)):
        if size >= factor:
            return f"{short(size / factor, 3)} {unit}"
    return f"{size:.0f} bytes"


def permitting(steps: float, option: str) -> str:
    """What to do for so many steps: the option, with its value where somebody might want to wait for that."""
    if not steps <= PLAUSIBLE:
        return f"{option} raises the limit"
    return f"{option} {short(steps, 2, ROUND_UP)} permits it"
