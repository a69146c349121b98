"""What a small file is that claims much: how it is made, and what has to become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SIZE = 2**20
AUDITED, BROKEN, INCOMPLETE, UNSAFE = 0, 2, 3, 4
"""Exit codes."""


@dataclass(frozen=True, kw_only=True)
class SmallFile:
    """A file below 1 MB that wants minutes or gigabytes.

    Attributes:
        name: of the kind.
        make: makes the files in an empty folder, and returns the path that is to be named.
        codes: one of which convsv has to exit with.
        says: a part of what it writes, to stdout or stderr.
        command: what is run with the path; "{}" stands for it, and is added where it is missing, and
            "{folder}" for its folder.
    """

    name: str
    make: Callable[[Path], Path]
    codes: tuple[int, ...]
    says: str = ""
    command: tuple[str, ...] = ("audit",)

    def arguments(self, path: Path) -> list[str]:
        """The command line, without the program."""
        if "{}" not in self.command:
            return [*self.command, str(path)]
        return [
            argument.replace("{}", str(path)).replace("{folder}", str(path.parent))
            for argument in self.command
        ]
