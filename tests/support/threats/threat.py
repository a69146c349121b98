"""What a hostile file is: how it is made, and what has to become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

UNSAFE, BROKEN, INCOMPLETE, AUDITED = 4, 2, 3, 0
CANARY = "canary"


@dataclass(frozen=True, kw_only=True)
class Threat:
    """A hostile file.

    Attributes:
        name: of the threat.
        make: makes the file in an empty folder and returns its path. What runs code makes `CANARY` there.
        code: what convsv has to exit with. A file that may be audited is one whose report is inert.
        says: a part of the one line on stderr, or of the report of a file that may be audited.
        reckless: loads the file as others do, so that its code runs; None where it holds none.
    """

    name: str
    make: Callable[[Path], Path]
    code: int
    says: str
    reckless: Callable[[Path], object] | None = None

    @property
    def refused(self) -> bool:
        """Whether there is to be no report."""
        return self.code in {UNSAFE, BROKEN}
